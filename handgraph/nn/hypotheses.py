"""The hypotheses of all branches, sorted by joint."""

from __future__ import annotations

import math

from torch import Tensor

from handgraph.nn.constants import HasConstants
from handgraph.subgraph import RemovalSets, check_branches, check_removal


class Hypotheses(HasConstants):
    """Sort the nodes of all branches by joint.

    The output has one row per hypothesis, as PyG's ``segment`` and ``softmax(ptr=...)`` require;
    see :meth:`handgraph.RemovalSets.hypotheses`. Padding is removed.

    Args:
        removal: The removal sets.

    Shapes:
        - input: ``[*, N, K, C]``
        - output: ``[H, B, C]``, where B is the product of the leading dimensions

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import Hypotheses
        >>> Hypotheses(RemovalSets.by_level(HAND))(torch.rand(8, 4, 16, 3)).shape
        torch.Size([64, 8, 3])
    """

    index: Tensor
    ptr: Tensor
    joint: Tensor

    def __init__(self, removal: RemovalSets):
        super().__init__()
        check_removal(removal, "Hypotheses")
        self.removal = removal
        self.shape = (len(removal), removal.num_nodes)
        index, ptr = removal.hypotheses()
        joint = removal.keep_mask.t().nonzero()[:, 0]
        self.register_constants(index=index, ptr=ptr, joint=joint)

    def forward(self, y: Tensor) -> Tensor:
        """Sort the nodes of all branches by joint."""
        check_branches(y, "the input of Hypotheses", self.removal, self.index)
        flat = y.reshape(math.prod(y.shape[:-3]), self.shape[0] * self.shape[1], y.shape[-1])
        return flat.index_select(1, self.index).transpose(0, 1).contiguous()

    def to_joints(self, joints: Tensor, like: Tensor) -> Tensor:
        """Rearrange ``[J, B, C]`` to ``[*, J, C]``, with the leading dimensions of ``like``."""
        return joints.transpose(0, 1).reshape(*like.shape[:-3], *joints.shape[::2])

    def to_nodes(self, hypotheses: Tensor, like: Tensor) -> Tensor:
        """Rearrange ``[H, B, C]`` to ``[*, N, K, C]``; padding is 0."""
        nodes = hypotheses.new_zeros(self.shape[0] * self.shape[1], *hypotheses.shape[1:])
        nodes = nodes.index_copy(0, self.index, hypotheses).transpose(0, 1)
        return nodes.reshape(*like.shape[:-1], hypotheses.shape[-1])
