"""``python -m fdsl_gpu``: see :mod:`fdsl_gpu.cli`."""

import sys

from fdsl_gpu.cli import main

if __name__ == "__main__":
    sys.exit(main())
