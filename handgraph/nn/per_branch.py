"""A separate module for every branch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from handgraph.nn.composed import Composed
from handgraph.nn.made_for import MadeFor
from handgraph.skeleton import Skeleton
from handgraph.subgraph import RemovalSets, check_branches, check_removal


class PerBranch(MadeFor, Composed):
    """A separate module for each branch, built for the skeleton of that branch.

    PSJNet's core with any network, as ``merge(branches(split(pose)))``. The paper uses graph U-Nets
    (section 2, Fig. 2). The modules run one after the other, whereas :class:`AdaptiveGraphUNet`
    computes all its branches at once. Each module gets only the joints of its branch, without
    padding. If a sample has NaN in a branch, the whole output of that branch is NaN and passes no
    gradient. Otherwise attention layers would turn all gradients into NaN.

    Args:
        removal: The removal sets.
        factory: Called with the skeleton of each branch, it returns the module of the branch,
            ``[*, J, C] -> [*, J, C']`` with the same C' for all branches.
        edges: The edges of these skeletons, ``"bridged"`` or ``"induced"``
            (:meth:`handgraph.RemovalSets.subgraph`).

    Shapes:
        - input: ``[*, N, K, C]``
        - output: ``[*, N, K, C']``; padding is 0

    Raises:
        ValueError: If the input does not have these branches, or a module returns the wrong
            shape.

    Example:
        >>> import torch
        >>> from torch_geometric.nn import GATv2Conv
        >>> from handgraph import HAND, RemovalSets, coarsen
        >>> from handgraph.nn import MeanMerger, PerBranch, SkeletonUNet, SubgraphMask
        >>> removal = RemovalSets.by_level(HAND)
        >>> ladder = coarsen(HAND)  # clusters of the whole hand, restricted in each branch
        >>> branches = PerBranch(
        ...     removal, lambda s: SkeletonUNet(2, 3, s, conv=GATv2Conv, ladder=ladder)
        ... )
        >>> split, merge = SubgraphMask(removal), MeanMerger(3, 3, removal)
        >>> merge(branches(split(torch.rand(8, 21, 2)))).shape
        torch.Size([8, 21, 3])
    """

    def __init__(
        self,
        removal: RemovalSets,
        factory: Callable[[Skeleton], nn.Module],
        *,
        edges: Literal["bridged", "induced"] = "bridged",
    ):
        super().__init__()
        check_removal(removal, "PerBranch")
        self.removal = removal
        self.num_kept = tuple(removal.num_kept.tolist())
        self.branches = nn.ModuleList(factory(removal.subgraph(n, edges)) for n in removal.names)

    def forward(self, x: Tensor) -> Tensor:
        """Run each branch on its own joints."""
        check_branches(x, "the input of PerBranch", self.removal)
        outputs = [self._branch(x, n) for n in range(len(self.removal))]
        widths = [output.shape[-1] for output in outputs]
        if len(set(widths)) > 1:
            raise ValueError(
                f"PerBranch over {self.removal}: expected branches of one width, got {widths}"
            )
        return torch.stack(outputs, dim=-3)

    def _branch(self, x: Tensor, n: int) -> Tensor:
        count = self.num_kept[n]
        x = x[..., n, :count, :]
        missing = x.isnan().flatten(-2).any(-1)[..., None, None]
        out: Tensor = self.branches[n](x.masked_fill(missing, 0))
        if out.shape[:-1] != x.shape[:-1]:
            raise ValueError(
                f"PerBranch over {self.removal}: expected branch {self.removal.names[n]!r} to give "
                f"[{', '.join(map(str, x.shape[:-1]))}, C], got {list(out.shape)}"
            )
        return pad(out.masked_fill(missing, torch.nan), (0, 0, 0, self.removal.num_nodes - count))

    def __repr__(self) -> str:
        """Return the removal sets and the first branch's module."""
        return f"PerBranch({self.removal}, {self.branches[0]}, ...)"
