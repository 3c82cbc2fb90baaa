"""The paper's core as one module that can be saved."""

from __future__ import annotations

from typing import Any, Literal, cast

from torch import Tensor

from handgraph.hub.config import removal_to_json
from handgraph.hub.saved import SavedModule
from handgraph.nn import AdaptiveGraphUNet, GatedMerger, GraphMerger, MeanMerger, SubgraphMask
from handgraph.nn.adjacency import Normalization
from handgraph.subgraph import RemovalSets

MERGERS = {"graph": GraphMerger, "gated": GatedMerger, "mean": MeanMerger}
"""The mergers that a saved lifter may have."""


class BranchLifter(SavedModule):
    """Estimate a pose by graph U-Nets that each lack some joints, and merge their estimates.

    The core of PSJNet (section 2, Fig. 2): ``merge(branches(split(x)))``, with the three parts as
    attributes, since the losses of training ask for the incomplete poses too. In one module, so
    that it can be saved: :class:`SavedModule` says how.

    Args:
        in_channels: Size of each input node.
        out_channels: Size of each output node.
        removal: Which joints each branch loses.
        channels: Width of the finest level of each branch.
        normalization: How a learned adjacency is normalised, ``"abs"`` or ``"signed"``.
        merger: ``"graph"``, the paper's; ``"gated"`` or ``"mean"``.

    Shapes:
        - input: ``[*, J, in_channels]``
        - output: ``[*, J, out_channels]``

    Units:
        Those that it is trained with: say them in ``about["Units"]``.

    Raises:
        ValueError: If a size is not positive, there is no such merger or normalization, or the
            input does not have the joints and channels.

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
        """What the class is called with, as JSON."""
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "removal": removal_to_json(self.removal),
            "channels": self.channels,
            "normalization": self.normalization,
            "merger": self.merger,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Estimate the whole pose."""
        return cast("Tensor", self.merge(self.branches(self.split(x))))
