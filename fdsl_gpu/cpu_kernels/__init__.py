"""numba twins of the kernels in ``triton_kernels``: the same file names, the same argument order, the same bytes."""
