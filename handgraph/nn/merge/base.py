"""Base class of all mergers: constructor arguments, call and checks."""

from __future__ import annotations

from torch import Tensor, nn

from handgraph._check import check_count, check_last, check_mask, check_shape, check_sizes
from handgraph.subgraph import RemovalSets, check_removal


class Merger(nn.Module):
    """Merge the incomplete poses of N branches into one pose of all joints.

    Every merger is built as ``Merger(in_channels, out_channels, removal, *, feature_channels=0)``
    and called as ``merge(partial, feature=None, *, node_mask=None)``.

    Args:
        in_channels: Channels of the incomplete poses.
        out_channels: Channels of the merged pose.
        removal: The removal sets of the branches.
        feature_channels: Channels of a further feature per joint; 0 for none.

    Shapes:
        - partial: ``[*, N, K, in_channels]``
        - feature: ``[*, J, feature_channels]``
        - node_mask: Bool ``[*, N, K]``, ``False`` where a hypothesis is missing in this sample
        - output: ``[*, J, out_channels]``

    Raises:
        ValueError: If an input has the wrong shape, or a feature is given or missing contrary to
            ``feature_channels``.
        TypeError: If node_mask is not Bool.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import GatedMerger, GraphMerger, MeanMerger
        >>> removal = RemovalSets.by_level(HAND)
        >>> mergers = [merger(3, 3, removal) for merger in (MeanMerger, GatedMerger, GraphMerger)]
        >>> [list(merge(torch.rand(8, 4, 16, 3)).shape) for merge in mergers]
        [[8, 21, 3], [8, 21, 3], [8, 21, 3]]
    """

    branched = (True, False)
    """Whether input and output have a branch axis."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        removal: RemovalSets,
        *,
        feature_channels: int = 0,
    ):
        super().__init__()
        name = type(self).__name__
        check_removal(removal, name)
        check_sizes(name, in_channels=in_channels, out_channels=out_channels)
        check_count(feature_channels, "feature_channels", 0)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.removal = removal
        self.feature_channels = feature_channels

    @property
    def feature_shape(self) -> tuple[int, int]:
        """Required numbers of nodes and channels of a feature."""
        return self.removal.skeleton.num_joints, self.feature_channels

    def check(self, partial: Tensor, feature: Tensor | None, node_mask: Tensor | None) -> None:
        """Raise unless all shapes fit the removal sets and each other, and the mask is Bool."""
        self.check_partial(partial, node_mask)
        if (feature is not None) != (self.feature_channels > 0):
            found = "none" if feature is None else list(feature.shape)
            raise ValueError(
                f"{type(self).__name__}: expected a feature of {self.feature_channels} channels, "
                f"got {found}"
            )
        if feature is not None:
            name, shape = f"feature of {type(self).__name__}", self.feature_shape
            check_shape(feature, name, (*partial.shape[:-3], *shape), partial, self.removal)

    def check_partial(self, partial: Tensor, node_mask: Tensor | None) -> None:
        """Raise unless poses and mask fit the removal sets and each other, and the mask is Bool."""
        name, removal = type(self).__name__, self.removal
        sizes = len(removal), removal.num_nodes, self.in_channels
        check_last(partial, f"partial of {name}", *sizes, owner=removal)
        if node_mask is not None:
            check_mask(node_mask, f"node_mask of {name}", partial.shape[:-1], partial, removal)

    def __repr__(self) -> str:
        """Return the sizes and sets."""
        sizes = f"{self.in_channels}, {self.out_channels}, {self.removal}"
        features = f", feature_channels={self.feature_channels}" if self.feature_channels else ""
        return f"{type(self).__name__}({sizes}{features})"
