"""Skeletal pooling and unpooling over fixed clusters of neighbouring joints."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch_geometric.utils import scatter

from handgraph._check import check_choice, check_joints
from handgraph.coarsening import Coarsening
from handgraph.nn.constants import HasConstants

Reduce = Literal["mean", "max"]
"""Reduction over the joints of a cluster."""


class _Skeletal(HasConstants):
    """A layer over the clusters of joints of a coarsening."""

    cluster: Tensor

    def __init__(self, coarsening: Coarsening):
        super().__init__()
        self.coarsening = coarsening
        self.register_constants(cluster=coarsening.cluster)

    def extra_repr(self) -> str:
        """Return the numbers of joints and clusters."""
        fine, coarse = self.coarsening.fine, self.coarsening.coarse
        return f"{fine.name}: {fine.num_joints}, {coarse.num_joints}"


class SkeletalPool(_Skeletal):
    r"""Pool every cluster of joints into one node of the coarse skeleton.

    .. math:: y_c = \frac{1}{|c|} \sum_{j \in c} x_j \quad\text{or}\quad y_c = \max_{j \in c} x_j

    The layer has no parameters. NaN in a joint reaches only its own cluster. Skeletal pooling
    follows Aberman et al. (Skeleton-Aware Networks, SIGGRAPH 2020).

    Args:
        coarsening: The clusters.
        reduce: ``"mean"`` or ``"max"``.

    Shapes:
        - input: ``[*, J, C]``
        - output: ``[*, J', C]``, one node per cluster, in the units of the input

    Raises:
        ValueError: If ``reduce`` is unknown, or the input does not have the skeleton's joints.

    Example:
        >>> import torch
        >>> from handgraph import HAND, coarsen
        >>> from handgraph.nn import SkeletalPool
        >>> SkeletalPool(coarsen(HAND)[0])(torch.rand(8, 21, 4)).shape
        torch.Size([8, 11, 4])
    """

    def __init__(self, coarsening: Coarsening, reduce: Reduce = "mean"):
        super().__init__(coarsening)
        check_choice(reduce, "reduce", "mean", "max")
        self.reduce: Reduce = reduce

    def forward(self, x: Tensor) -> Tensor:
        """Reduce the joints of each cluster."""
        check_joints(x, "the input of SkeletalPool", self.coarsening.fine, self.cluster)
        count = self.coarsening.coarse.num_joints
        return scatter(x, self.cluster, dim=-2, dim_size=count, reduce=self.reduce)

    def extra_repr(self) -> str:
        """Return the numbers of joints and clusters, and the reduction."""
        return f"{super().extra_repr()}, reduce={self.reduce!r}"


class SkeletalUnpool(_Skeletal):
    """Copy each node of the coarse skeleton to all joints of its cluster.

    The inverse of :class:`SkeletalPool` up to differences within a cluster: pooling the output
    returns the input.

    Args:
        coarsening: The clusters.

    Shapes:
        - input: ``[*, J', C]``, one node per cluster
        - output: ``[*, J, C]``, in the units of the input

    Raises:
        ValueError: If the input does not have one node per cluster.

    Example:
        >>> import torch
        >>> from handgraph import HAND, coarsen
        >>> from handgraph.nn import SkeletalPool, SkeletalUnpool
        >>> pool, unpool = SkeletalPool(coarsen(HAND)[0]), SkeletalUnpool(coarsen(HAND)[0])
        >>> x = torch.rand(8, 11, 4)
        >>> unpool(x).shape, torch.equal(pool(unpool(x)), x)
        (torch.Size([8, 21, 4]), True)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Copy each node to the joints of its cluster."""
        check_joints(x, "the input of SkeletalUnpool", self.coarsening.coarse, self.cluster)
        return x.index_select(-2, self.cluster)
