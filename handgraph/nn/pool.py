"""Learned pooling of nodes: a linear map from one set of nodes to another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handgraph._check import check_bool, check_last, check_sizes
from handgraph.nn.constants import HasConstants
from handgraph.nn.plan import NodeMap, Plan, Stage, Term


class NodePool(HasConstants):
    r"""Map the nodes linearly to fewer nodes (pooling) or to more (unpooling).

    .. math:: Y = P X + p 1^\top, \qquad P \in R^{J' \times J}

    The layer is both the pooling and the unpooling of the Adaptive Graph U-Net (Doosti et al.,
    HOPE-Net, CVPR 2020): ``NodePool(21, 11)`` and ``NodePool(11, 21)``.

    Args:
        in_nodes: J, the number of input nodes.
        out_nodes: J', the number of output nodes.
        node_mask: Bool ``[N, J]``, the nodes of each of N parallel maps. Nodes with ``False`` have
            no influence. Each branch is initialised with its own fan-in.

    Shapes:
        - input: ``[*, J, C]``, or ``[*, N, J, C]``
        - output: ``[*, J', C]``, or ``[*, N, J', C]``

    Raises:
        ValueError: If a size is not positive, the mask does not fit or a branch has no nodes, or
            the input does not have these branches and nodes.
        TypeError: If the mask is not Bool.

    Example:
        >>> import torch
        >>> from handgraph.nn import NodePool
        >>> pool, unpool = NodePool(21, 11), NodePool(11, 21)
        >>> unpool(pool(torch.rand(8, 21, 4))).shape
        torch.Size([8, 21, 4])
    """

    node_mask: Tensor | None

    def __init__(self, in_nodes: int, out_nodes: int, *, node_mask: Tensor | None = None):
        super().__init__()
        check_sizes("NodePool", in_nodes=in_nodes, out_nodes=out_nodes)
        if node_mask is not None:
            _check_mask(node_mask, in_nodes)
        self.in_nodes = in_nodes
        self.out_nodes = out_nodes
        self.register_constants(node_mask=node_mask)
        self.is_ragged = node_mask is not None and not bool(node_mask.all())
        branches = () if node_mask is None else (len(node_mask),)
        self.weight = nn.Parameter(torch.empty(*branches, out_nodes, in_nodes))
        self.bias = nn.Parameter(torch.empty(*branches, out_nodes, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset all parameters, in each branch like ``torch.nn.Linear`` over its nodes."""
        if self.node_mask is None:
            bound = torch.tensor(self.in_nodes**-0.5)
        else:
            bound = self.node_mask.sum(dim=1).pow(-0.5)[:, None, None]
        with torch.no_grad():
            for parameter in (self.weight, self.bias):
                parameter.uniform_(-1, 1).mul_(bound)

    def node_map(self) -> NodeMap:
        """Return the map over nodes, with zeros at masked nodes."""
        if self.node_mask is None or not self.is_ragged:
            return NodeMap(self.weight, self.bias)
        return NodeMap(self.weight.where(self.node_mask.unsqueeze(-2), 0), self.bias)

    def lower(self) -> Plan:
        """Return the plan of :meth:`forward`."""
        one = self.node_map()
        if self.node_mask is None:
            one = NodeMap(*(part.unsqueeze(0) for part in one if part is not None))
        return (Stage((Term(0, one),), relu=False),)

    @property
    def branched(self) -> tuple[bool, bool]:
        """Whether input and output have a branch axis."""
        return (self.node_mask is not None,) * 2

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map to the nodes."""
        node_map = self.node_map()
        nodes = (self.in_nodes,) if self.node_mask is None else self.node_mask.shape
        check_last(x, "the input of NodePool", *nodes, "C", like=node_map[0], owner=self)
        if self.node_mask is not None and self.is_ragged:
            x = x.where(self.node_mask.unsqueeze(-1), 0)
        return node_map(x)

    def __repr__(self) -> str:
        """Return the sizes."""
        return f"NodePool({self.in_nodes}, {self.out_nodes})"


def _check_mask(node_mask: Tensor, in_nodes: int) -> None:
    check_bool(node_mask, "node_mask of NodePool")
    if node_mask.dim() != 2 or node_mask.shape[1] != in_nodes:
        raise ValueError(
            f"NodePool: expected node_mask [N, {in_nodes}], got {list(node_mask.shape)}"
        )
    if not node_mask.any(dim=1).all():
        raise ValueError("NodePool: expected node_mask with a node in every branch")
