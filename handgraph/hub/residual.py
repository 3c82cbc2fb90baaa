"""A fully connected network with residual blocks."""

from __future__ import annotations

from torch import Tensor, nn


class Residual(nn.Module):
    r"""Add a linear layer of the normalised input to the input.

    .. math:: y = x + W \operatorname{SiLU}(\operatorname{LayerNorm}(x)) + b

    Shapes:
        ``[*, width]`` -> ``[*, width]``
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.act = nn.SiLU()
        self.lin = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        out: Tensor = x + self.lin(self.act(self.norm(x)))
        return out


def residual_net(in_channels: int, width: int, out_channels: int, *, blocks: int) -> nn.Sequential:
    """Return residual blocks between two linear layers."""
    return nn.Sequential(
        nn.Linear(in_channels, width),
        *(Residual(width) for _ in range(blocks)),
        nn.LayerNorm(width),
        nn.SiLU(),
        nn.Linear(width, out_channels),
    )
