"""corrfield's kernels in torch, for CUDA.

They compute the same as the compiled kernels, which are their oracles in the tests. They are deterministic: no sum is
taken in random order, as the atomics of ``index_add`` would.
"""
