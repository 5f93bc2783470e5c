"""How the kernels are compiled: quickly, because the first batch of a fresh installation waits for it.

Every compiled function costs about 50 ms, and is compiled again, with all that it calls, within each function that
calls it: what stands in the middle of a chain of calls is inlined by numba, ``@inner(inline="always")``; what ends one
is not, or its loops lose registers to those around it. What else costs:

* wrappers for callers that do not exist, exceptions for divisions by zero, and counts of references, which the two
  decorators leave out: so kernels take arrays, and slice them, but make none;
* ``np.empty``, ``reshape`` and ``view``, about 0.2 s for every new type: entry points are Python functions that make
  scratch memory and views with NumPy, and hand them to a kernel;
* slices, 10 to 40 ms each: outside of hot loops, pass offsets. In hot loops a slice tells the compiler that indices
  are not negative, which unsigned indices do as well;
* an array assigned to a slice, ``a[:] = b``, which compiles the formatting of an error message: write the loop;
* literal arguments: a callee is compiled for each of them;
* what a kernel needs for some pictures only: an argument that is None leaves out the branches that ask for it;
* arrays that are contiguous when they have one element: pass contiguous ones, or numba compiles for both;
* garbage collection, which walks all of torch's objects again and again: a sixth of the time. It rests meanwhile.
"""

import gc
import hashlib
import os
import threading
import warnings
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from numba import njit
from numba.core import config, event
from numba.core.compiler_lock import global_compiler_lock

if config.DISABLE_JIT:
    raise RuntimeError("NUMBA_DISABLE_JIT: received 1; allowed: 0, or unset. These kernels only work compiled.")

_PACKAGE = Path(__file__).resolve().parent.parent

_OPTIONS = {"error_model": "numpy", "_nrt": False, "no_cfunc_wrapper": True}

inner = partial(njit, no_cpython_wrapper=True, **_OPTIONS)
"""Decorates what only other kernels call. It has no way in from Python: calling it there ends the process."""


def kernel(function):
    """Decorates what Python calls. Compiled code is cached on disk, if there is a folder for it."""
    try:
        compiled = njit(nogil=True, cache=True, **_OPTIONS)(function)
    except RuntimeError:
        _warn_once()
        return njit(nogil=True, **_OPTIONS)(function)
    _forget_stale_kernels(Path(compiled.stats.cache_path))
    return compiled


@cache
def _forget_stale_kernels(folder):
    """Remove machine code from a cache folder unless it is of these very sources, and note whose it will be.

    numba compares a kernel with the file that defines it only, while constants and functions come from others too:
    after an update of the sources, old kernels would draw old bytes.
    """
    note, sources = folder / "fdsl_gpu.sources", _digest_of_sources()
    # Another process may be doing the same, or the folder may not be ours to write.
    with suppress(OSError):
        if note.exists() and note.read_text() == sources:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for cached in folder.glob("*.nb[ci]"):
            cached.unlink(missing_ok=True)
        written = note.with_suffix(f".{os.getpid()}")
        written.write_text(sources)
        written.replace(note)


@cache
def _digest_of_sources():
    digest = hashlib.sha256()
    for source in sorted(_PACKAGE.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


@cache
def _warn_once():
    warnings.warn(
        "fdsl_gpu compiles its kernels anew in every process, since numba finds no folder to keep them in. "
        "Set NUMBA_CACHE_DIR to one that can be written.",
        stacklevel=3,
    )


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
    # Functions made by exec have no module.
    return str(event.data["dispatcher"].py_func.__module__).startswith("fdsl_gpu.")


event.register("numba:compile", _CollectionRests())
# Or a process that is forked while another thread compiles would wait for ever before it compiles.
os.register_at_fork(
    before=global_compiler_lock.acquire,
    after_in_parent=global_compiler_lock.release,
    after_in_child=global_compiler_lock.release,
)
