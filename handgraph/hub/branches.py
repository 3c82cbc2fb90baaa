"""The core of PSJNet as a module that can be saved."""

from __future__ import annotations

from typing import Any, Literal, cast

from torch import Tensor

from handgraph.hub.config import removal_to_json
from handgraph.hub.saved import SavedModule
from handgraph.nn import AdaptiveGraphUNet, GatedMerger, GraphMerger, MeanMerger, SubgraphMask
from handgraph.nn.adjacency import Normalization
from handgraph.subgraph import RemovalSets

MERGERS = {"graph": GraphMerger, "gated": GatedMerger, "mean": MeanMerger}
"""Mergers by name."""


class BranchLifter(SavedModule):
    """Estimate a pose with graph U-Nets on subsets of the joints, and merge their estimates.

    This is the core of PSJNet (section 2, Fig. 2): ``merge(branches(split(x)))``. The three parts
    are attributes, since the training losses also need the incomplete poses. See
    :class:`SavedModule` for saving and loading.

    Args:
        in_channels: Size of each input node.
        out_channels: Size of each output node.
        removal: Joints that are removed in each branch.
        channels: Width of the finest level of each branch.
        normalization: How a learned adjacency is normalised, ``"abs"`` or ``"signed"``.
        merger: ``"graph"`` as in the paper, ``"gated"`` or ``"mean"``.

    Shapes:
        - input: ``[*, J, in_channels]``
        - output: ``[*, J, out_channels]``

    Units:
        The units of the training data; document them in ``about["Units"]``.

    Raises:
        ValueError: If a size is not positive, merger or normalization is unknown, or the input has
            the wrong number of joints or channels.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.hub import BranchLifter
        >>> net = BranchLifter(2, 3, RemovalSets.by_level(HAND))
        >>> partial = net.branches(net.split(torch.rand(8, 21, 2)))
        >>> partial.shape, net.merge(partial).shape
        (torch.Size([8, 4, 16, 3]), torch.Size([8, 21, 3]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        removal: RemovalSets,
        *,
        channels: int = 4,
        normalization: Normalization = "abs",
        merger: Literal["graph", "gated", "mean"] = "graph",
    ):
        super().__init__()
        if merger not in MERGERS:
            raise ValueError(f"merger: expected one of {', '.join(MERGERS)}, got {merger!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.removal = removal
        self.channels = channels
        self.normalization = normalization
        self.merger = merger
        self.split = SubgraphMask(removal)
        self.branches = AdaptiveGraphUNet(
            in_channels, out_channels, removal, channels=channels, normalization=normalization
        )
        self.merge = MERGERS[merger](out_channels, out_channels, removal)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON."""
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "removal": removal_to_json(self.removal),
            "channels": self.channels,
            "normalization": self.normalization,
            "merger": self.merger,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Estimate the complete pose."""
        return cast("Tensor", self.merge(self.branches(self.split(x))))
