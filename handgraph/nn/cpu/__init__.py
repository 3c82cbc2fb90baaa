"""The graph U-Net compiled for the CPU by numba: one call for all branches, forward and backward.

The extra ``handgraph[numba]`` installs it, and the modules of :mod:`handgraph.nn` then take it by
themselves. Samples lie side by side in the vector registers, and a block of them goes through the
whole net while its intermediates stay in the cache; so a training step keeps none of them.
"""
