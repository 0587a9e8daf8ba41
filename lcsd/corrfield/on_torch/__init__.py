"""corrfield's kernels in torch, for CUDA.

The same definitions as the compiled ones beside this package, which are their oracles in the
tests. Deterministic: no sum is taken in random order, as the atomics of ``index_add`` would.
"""
