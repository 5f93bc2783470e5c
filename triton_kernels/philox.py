"""Philox4x32-10 for Triton, the twin of ``fdsl_gpu.philox`` and ``fdsl_gpu.cpu_kernels.philox``.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Returns four uint32 blocks.
"""

import triton
import triton.language as tl


@triton.jit
def philox4x32(c0, c1, c2, c3, k0, k1):
    """Four uint32 words from a counter and a key of 32-bit words.

    Any integer types, blocks or scalars, which broadcast; at least c0 and c2 (or c1 and c3) fix the shape.
    """
    c0 = tl.cast(c0, tl.uint32)
    c1 = tl.cast(c1, tl.uint32)
    c2 = tl.cast(c2, tl.uint32)
    c3 = tl.cast(c3, tl.uint32)
    k0 = tl.cast(k0, tl.uint32)
    k1 = tl.cast(k1, tl.uint32)
    return tl.philox_impl(c0, c1, c2, c3, k0, k1, 10)
