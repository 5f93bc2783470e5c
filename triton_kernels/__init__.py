"""Triton kernels of fdsl-gpu: pointers, strides and sizes; no torch logic.

Importing this package imports no Triton, so that a machine without it can look.
"""

PROJECT = "fdsl-gpu"
"""Tells this package from others of the same name; ``fdsl_gpu`` checks it before it launches anything."""
