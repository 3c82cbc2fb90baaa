"""Gather the joints of the branches from a pose, and scatter them back."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch_geometric.utils import segment

from handgraph._check import check_choice, check_joints
from handgraph.nn.constants import HasConstants
from handgraph.nn.hypotheses import Hypotheses
from handgraph.nn.made_for import MadeFor
from handgraph.nn.mixing import samples_first, samples_last
from handgraph.nn.plan import Plan, Select, Stage, Term
from handgraph.subgraph import RemovalSets, check_removal


class SubgraphMask(HasConstants, MadeFor):
    """Gather the joints that each branch keeps, and scatter them back.

    In the paper (Fig. 2), the input of a branch is the pose without the removed joints. This is a
    gather: the gradient of a branch with respect to a removed joint is exactly zero, and NaN in
    that joint does not reach the branch. Padding of ragged sets is zero.

    Args:
        removal: The removal sets.

    Shapes:
        - input: ``[*, J, C]``
        - output: ``[*, N, K, C]``

    Raises:
        ValueError: If the input does not have the joints of the skeleton.

    Example:
        >>> import torch
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import SubgraphMask
        >>> split = SubgraphMask(RemovalSets.by_level(HAND))
        >>> pose = torch.rand(8, 21, 2)
        >>> split(pose).shape
        torch.Size([8, 4, 16, 2])
        >>> torch.allclose(split.scatter(split(pose)), pose)
        True
    """

    node_mask: Tensor
    kept: Tensor
    count: Tensor
    branched = (False, True)
    reads = (Hypotheses,)

    def __init__(self, removal: RemovalSets):
        super().__init__()
        check_removal(removal, "SubgraphMask")
        self.removal = removal
        self.is_ragged = not bool(removal.node_mask.all())
        kept, count = removal.kept.clamp(min=0), removal.keep_mask.sum(dim=0)
        self.register_constants(node_mask=removal.node_mask, kept=kept, count=count)
        self.hypotheses = Hypotheses(removal)

    def forward(self, x: Tensor) -> Tensor:
        """Gather the kept joints of every branch."""
        check_joints(x, "the input of SubgraphMask", self.removal.skeleton, self.kept)
        nodes = samples_last(x, 2).contiguous().index_select(0, self.kept.flatten())
        out = samples_first(nodes.unflatten(0, self.kept.shape), x.shape[:-2])
        return out.masked_fill(~self.node_mask.unsqueeze(-1), 0) if self.is_ragged else out

    def lower(self) -> Plan:
        """Return the plan of :meth:`forward`, from one branch to N."""
        kept = self.kept.where(self.node_mask, -1)
        select = Select(kept, self.removal.skeleton.num_joints)
        return (Stage((Term(0, select),), relu=False),)

    def scatter(self, y: Tensor, reduce: Literal["mean", "sum", "min", "max"] = "mean") -> Tensor:
        """Reduce the values of each joint over the :attr:`count` branches that keep it.

        Args:
            y: One value per node and branch. ``[*, N, K, C]``
            reduce: The reduction over branches.

        Returns:
            ``[*, J, C]``

        Raises:
            ValueError: If y does not have the shape of the branches.
        """
        check_choice(reduce, "reduce", "mean", "sum", "min", "max")
        hypotheses = self.hypotheses(y)
        joints = segment(hypotheses.flatten(1), self.hypotheses.ptr, reduce)
        return self.hypotheses.to_joints(joints.unflatten(1, hypotheses.shape[1:]), y)

    def __repr__(self) -> str:
        """Return the removal sets."""
        return f"SubgraphMask({self.removal})"
