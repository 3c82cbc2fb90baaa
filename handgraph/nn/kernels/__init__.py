"""One kernel on CUDA for the graph U-Net: a chain of dense maps in Triton, forward and backward.

Inside of :func:`enabled` the modules of :mod:`handgraph.nn` take it by themselves where tensors are
on a CUDA device and Triton is there. How it works: ``docs/kernels.md``. Inside of
:func:`disabled` they take neither these nor what numba compiles for the CPU.
"""

from handgraph.nn.kernels.dispatch import disabled, enabled
from handgraph.nn.kernels.ops import chain
from handgraph.nn.kernels.plan import Plan, Stage

__all__ = ["Plan", "Stage", "chain", "disabled", "enabled"]
