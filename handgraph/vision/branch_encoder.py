"""Feature encoders for all branches: one encoder per branch, or a shared trunk."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from handgraph._check import check_sizes
from handgraph.nn.composed import Composed
from handgraph.nn.constants import HasConstants
from handgraph.nn.made_for import MadeFor
from handgraph.subgraph import RemovalSets, check_removal
from handgraph.vision.encoder import (
    FeatureEncoder,
    check_features,
    last_layer,
    trunk,
)


class BranchFeatureEncoder(MadeFor, Composed):
    """One :class:`FeatureEncoder` per branch, as in the paper (Fig. 2; decision 2).

    Four encoders have 5.02 M parameters. :class:`SharedFeatureEncoder` has 1.48 M and needs a third
    of the multiplications. If removal sets differ in size, the output is padded with 0.

    Args:
        in_channels: Channels of the feature map.
        out_channels: D, the size of each joint's vector.
        removal: The removal sets.
        hidden_channels: Hidden channels of each encoder.
        signed: As in :class:`FeatureEncoder`.

    Shapes:
        - input: ``[B, in_channels, h, w]``
        - output: ``[B, N, K, out_channels]``

    Raises:
        ValueError: If a size is not positive, or the input has another number of channels.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import SubgraphMask
        >>> from handgraph.vision import BranchFeatureEncoder
        >>> removal = RemovalSets.by_level(HAND)
        >>> split = SubgraphMask(removal)
        >>> encoder = BranchFeatureEncoder(256, 2, removal, hidden_channels=8)
        >>> pose, features = torch.rand(4, 21, 2), torch.rand(4, 256, 16, 16)
        >>> torch.cat([split(pose), encoder(features)], dim=-1).shape  # input of the branches
        torch.Size([4, 4, 16, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        removal: RemovalSets,
        *,
        hidden_channels: int = 256,
        signed: bool = False,
    ):
        super().__init__()
        check_removal(removal, type(self).__name__)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.removal = removal
        self.branches = nn.ModuleList(
            FeatureEncoder(
                in_channels, count, out_channels, hidden_channels=hidden_channels, signed=signed
            )
            for count in removal.num_kept.tolist()
        )

    def forward(self, features: Tensor) -> Tensor:
        """Encode the feature map once per branch."""
        encoded = [branch(features) for branch in self.branches]
        nodes = self.removal.num_nodes
        return torch.stack([pad(x, (0, 0, 0, nodes - x.shape[-2])) for x in encoded], dim=1)

    def __repr__(self) -> str:
        """Return the sizes and removal sets; the encoders are in ``branches``."""
        return f"BranchFeatureEncoder({self.in_channels}, {self.out_channels}, {self.removal})"


class SharedFeatureEncoder(HasConstants, MadeFor, Composed):
    """Encode a feature map for all branches with a shared trunk and one last layer per branch.

    The branches share the first two convolutions of Table 1, which the paper repeats per branch
    (decision 2). Four branches have 1.48 M parameters instead of 5.02 M. The last layers of all
    branches are one convolution, whose output channels are assigned to branches and joints. If
    removal sets differ in size, the output is padded with 0.

    Args:
        in_channels: Channels of the feature map.
        out_channels: D, the size of each joint's vector.
        removal: The removal sets.
        hidden_channels: Channels of the trunk.
        signed: As in :class:`FeatureEncoder`.

    Shapes:
        - input: ``[B, in_channels, h, w]``
        - output: ``[B, N, K, out_channels]``

    Raises:
        ValueError: If a size is not positive, or the input has another number of channels.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.vision import SharedFeatureEncoder
        >>> encoder = SharedFeatureEncoder(256, 2, RemovalSets.by_level(HAND))
        >>> encoder(torch.rand(4, 256, 16, 16)).shape
        torch.Size([4, 4, 16, 2])
        >>> sum(p.numel() for p in encoder.parameters())
        1475840
    """

    index: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        removal: RemovalSets,
        *,
        hidden_channels: int = 256,
        signed: bool = False,
    ):
        super().__init__()
        check_removal(removal, type(self).__name__)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.removal = removal
        check_sizes(
            type(self).__name__,
            in_channels=in_channels,
            out_channels=out_channels,
            hidden_channels=hidden_channels,
        )
        index = removal.node_mask.flatten().nonzero().squeeze(-1)
        self.register_constants(index=index)
        self.layers = nn.Sequential(
            *trunk(in_channels, hidden_channels),
            *last_layer(hidden_channels, len(index) * out_channels, signed=signed),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Encode the feature map once and assign the channels to branches and joints."""
        check_features(features, self)
        pooled = self.layers(features).mean(dim=(-2, -1)).unflatten(-1, (-1, self.out_channels))
        branches = (len(self.removal), self.removal.num_nodes)
        nodes = pooled.new_zeros(pooled.shape[0], branches[0] * branches[1], self.out_channels)
        out: Tensor = nodes.index_copy(1, self.index, pooled).unflatten(1, branches)
        return out

    def __repr__(self) -> str:
        """Return the sizes and removal sets; the layers are in ``layers``."""
        return f"SharedFeatureEncoder({self.in_channels}, {self.out_channels}, {self.removal})"
