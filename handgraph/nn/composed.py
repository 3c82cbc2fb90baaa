"""Base class of modules without parameters of their own."""

from __future__ import annotations

from torch import nn
from torch_geometric.nn.inits import reset


class Composed(nn.Module):
    """A module whose parameters are those of its children."""

    def reset_parameters(self) -> None:
        """Reset all parameters."""
        for child in self.children():
            reset(child)
