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
import threading
from functools import partial

from numba import njit
from numba.core import event

kernel = partial(njit, nogil=True, cache=True, no_cfunc_wrapper=True)
"""Decorates what Python calls. ``kernel(error_model="numpy")`` and other options of ``numba.njit`` may be given."""

inner = partial(njit, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Decorates what only other kernels call. It has no way in from Python: calling it there ends the process."""


class _CollectionRests(event.Listener):
    """Switches garbage collection off while numba compiles, in whatever thread, and on again if it was."""

    def __init__(self):
        self._lock, self._depth, self._was_on = threading.Lock(), 0, False

    def on_start(self, event):
        with self._lock:
            if self._depth == 0:
                self._was_on = gc.isenabled()
                gc.disable()
            self._depth += 1

    def on_end(self, event):
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._was_on:
                gc.enable()


event.register("numba:compile", _CollectionRests())
