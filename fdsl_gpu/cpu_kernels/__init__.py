"""numba twins of the kernels in ``triton_kernels``: the same file names, the same argument order, the same bytes."""

from contextlib import suppress
from pathlib import Path


def _forget_stale_kernels(folder: Path) -> None:
    """Remove cached machine code older than the newest source file of the package.

    numba compares a kernel with the file that defines it only, while constants and functions come from others too:
    after an update of the sources, old kernels would draw old bytes.
    """
    newest = max(source.stat().st_mtime for source in folder.parent.rglob("*.py"))
    for cached in (folder / "__pycache__").glob("*.nb[ci]"):
        # Another process may be doing the same, or the folder may not be ours to write.
        with suppress(OSError):
            if cached.stat().st_mtime < newest:
                cached.unlink()


_forget_stale_kernels(Path(__file__).parent)
