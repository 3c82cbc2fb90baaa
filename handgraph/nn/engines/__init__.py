"""Engines that run plans: PyTorch operations (the reference), numba on the CPU, Triton on CUDA.

The ``forward`` of a module is its definition. All engines compute the same values. A module with
hooks or changed parts runs its ``forward``. :func:`use` chooses an engine. :func:`explain` returns
the engine of each part and the reasons.
"""

from handgraph.nn.engines.choice import Choice, explain, may_run, run, use

__all__ = ["Choice", "explain", "may_run", "run", "use"]
