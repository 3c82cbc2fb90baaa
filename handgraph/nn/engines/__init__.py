"""What runs plans, behind one door.

The ``forward`` of a module is its definition, and the engines compute the same numbers: operations
of PyTorch (the reference), numba on the CPU, Triton on CUDA. Whoever looks inside a module, or has
changed a part of it, gets its ``forward``. :func:`use` chooses an engine, and :func:`explain` says
which one ran and why.
"""

from handgraph.nn.engines.choice import Choice, explain, may_run, run, use

__all__ = ["Choice", "explain", "may_run", "run", "use"]
