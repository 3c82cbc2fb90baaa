"""A linear layer per branch, in one batched product."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handgraph._check import check_last, check_sizes


class BranchLinear(nn.Module):
    r"""N linear maps over the channels, one per branch, in one batched product.

    .. math:: Y_n = X_n W_n^\top + b_n

    The parameters are those of N ``torch.nn.Linear`` layers, stacked along a leading branch axis.
    Each branch is initialised like ``torch.nn.Linear``.

    Args:
        in_channels: Size of each input node.
        out_channels: Size of each output node.
        num_branches: N; ``None`` gives one map without a branch axis, like
            ``torch.nn.Linear``.

    Shapes:
        - input: ``[*, N, K, in_channels]``, or ``[*, in_channels]`` if N is ``None``
        - output: ``[*, N, K, out_channels]``, or ``[*, out_channels]``

    Raises:
        ValueError: If a size is not positive, or the input does not have these branches and
            channels.

    Example:
        >>> import torch
        >>> from handgraph.nn import BranchLinear
        >>> BranchLinear(2, 3, num_branches=4)(torch.rand(8, 4, 16, 2)).shape
        torch.Size([8, 4, 16, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, num_branches: int | None = None):
        super().__init__()
        branches = () if num_branches is None else (num_branches,)
        sizes = {} if num_branches is None else {"num_branches": num_branches}
        check_sizes("BranchLinear", in_channels=in_channels, out_channels=out_channels, **sizes)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_branches = num_branches
        self.weight = nn.Parameter(torch.empty(*branches, out_channels, in_channels))
        self.bias = nn.Parameter(torch.empty(*branches, out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset all parameters, as ``torch.nn.Linear`` does."""
        bound = self.in_channels**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the linear map of each branch to its channels."""
        weight, bias = self.weight, self.bias
        sizes = () if self.num_branches is None else (self.num_branches, "K")
        name = "the input of BranchLinear"
        check_last(x, name, *sizes, self.in_channels, like=weight, owner=self)
        return x @ weight.mT + (bias.unsqueeze(-2) if sizes else bias)

    def __repr__(self) -> str:
        """Return the sizes."""
        branches = "" if self.num_branches is None else f", num_branches={self.num_branches}"
        return f"BranchLinear({self.in_channels}, {self.out_channels}{branches})"
