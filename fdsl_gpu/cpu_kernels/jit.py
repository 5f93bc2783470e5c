"""How the kernels are compiled: quickly, because the first batch of a fresh installation waits for it.

Every compiled function costs about 50 ms, and is optimised again within each function that calls it. What else costs:

* wrappers for callers that do not exist, which these two decorators leave out;
* ``np.empty``, ``np.zeros``, ``reshape`` and ``view`` in a kernel, about 0.2 s for every new type: entry points are
  Python functions that make scratch memory and views with NumPy, and hand them to a kernel;
* an array assigned to a slice, ``a[:] = b``, which compiles the formatting of an error message: write the loop;
* literal arguments: a callee is compiled for each of them;
* garbage collection, which walks all of torch's objects again and again: a sixth of the time. It rests meanwhile.
"""

import gc
import os
import threading
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from numba import njit
from numba.core import event

_PACKAGE = Path(__file__).resolve().parent.parent

inner = partial(njit, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Decorates what only other kernels call. It has no way in from Python: calling it there ends the process."""


def kernel(function=None, **options):
    """Decorates what Python calls; ``options`` are those of ``numba.njit``. Compiled code is cached on disk."""
    if function is None:
        return partial(kernel, **options)
    compiled = njit(nogil=True, cache=True, no_cfunc_wrapper=True, **{"error_model": "numpy", **options})(function)
    _forget_stale_kernels(Path(compiled.stats.cache_path))
    return compiled


@cache
def _forget_stale_kernels(folder):
    """Remove machine code cached in a folder that is older than the newest source file of the package.

    numba compares a kernel with the file that defines it only, while constants and functions come from others too:
    after an update of the sources, old kernels would draw old bytes.
    """
    newest = max(source.stat().st_mtime for source in _PACKAGE.rglob("*.py"))
    for cached in folder.glob("*.nb[ci]"):
        # Another process may be doing the same, or the folder may not be ours to write.
        with suppress(OSError):
            if cached.stat().st_mtime < newest:
                cached.unlink()


class _CollectionRests(event.Listener):
    """Switches garbage collection off while kernels of this package compile, and on again if it was."""

    def __init__(self):
        self._was_on = False
        self._begin()
        os.register_at_fork(after_in_child=self._after_fork)

    def _begin(self):
        self._lock, self._depth = threading.Lock(), 0

    def _after_fork(self):
        # The thread that compiles, and would switch it on again, is not in the forked process.
        if self._depth and self._was_on:
            gc.enable()
        self._begin()

    def on_start(self, event):
        if _is_ours(event):
            with self._lock:
                if self._depth == 0:
                    self._was_on = gc.isenabled()
                    gc.disable()
                self._depth += 1

    def on_end(self, event):
        if _is_ours(event):
            with self._lock:
                self._depth = max(self._depth - 1, 0)
                if self._depth == 0 and self._was_on:
                    gc.enable()


def _is_ours(event):
    return event.data["dispatcher"].py_func.__module__.startswith("fdsl_gpu.")


event.register("numba:compile", _CollectionRests())
