"""The first graph network of HOPE-Net, and its published weights."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from handgraph._check import check_count, check_tensor
from handgraph.nn import AdaptiveGraphConv


class GraphNet(nn.Module):
    """The first graph network of HOPE-Net: three convolutions that share a learned adjacency.

    Doosti et al., "HOPE-Net: A Graph-based Model for Hand-Object Pose Estimation", CVPR 2020.

    Args:
        in_channels: Size of each input node.
        out_channels: Size of each output node.
        num_nodes: Number of nodes.
        channels: Output channels of the first two convolutions.

    Shapes:
        - input: ``[*, J, in_channels]``
        - output: ``[*, J, out_channels]``

    Raises:
        ValueError: If the input has the wrong number of nodes or channels.

    Example:
        >>> import torch
        >>> from handgraph.published import GraphNet
        >>> GraphNet(2, 2, 29)(torch.rand(8, 29, 2)).shape
        torch.Size([8, 29, 2])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_nodes: int,
        channels: tuple[int, int] = (128, 16),
    ):
        super().__init__()
        check_count(num_nodes, "num_nodes", 1)
        self.adjacency = nn.Parameter(torch.eye(num_nodes))
        sizes = (in_channels, *channels, out_channels)
        self.convs = nn.ModuleList(
            AdaptiveGraphConv(ins, outs, normalization="signed") for ins, outs in pairwise(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Estimate every node's output from all nodes."""
        check_tensor(x, "the input of GraphNet")
        first, second, last = self.convs
        out: Tensor = last(
            second(first(x, self.adjacency).relu(), self.adjacency).relu(), self.adjacency
        )
        return out


def load_graph_net_weights(state: Mapping[str, Tensor]) -> GraphNet:
    """Build a ``GraphNet`` from weights that the published code of HOPE-Net saved.

    Args:
        state: The state dict of ``GraphNet``, or of a net that contains it as ``graphnet``, with or
            without the ``module.`` of ``nn.DataParallel``. Other entries are ignored.

    Returns:
        The net, ``[*, J, in] -> [*, J, out]``.

    Raises:
        ValueError: If a tensor is missing or has the wrong shape.

    Example:
        >>> import torch
        >>> from handgraph.published import load_graph_net_weights
        >>> state = {"A_hat": torch.eye(29)}
        >>> for name, (ins, outs) in {"gconv1": (2, 4), "gconv2": (4, 3), "gconv3": (3, 2)}.items():
        ...     state[f"{name}.fc.weight"] = torch.rand(outs, ins)
        ...     state[f"{name}.fc.bias"] = torch.rand(outs)
        >>> load_graph_net_weights(state)(torch.rand(8, 29, 2)).shape
        torch.Size([8, 29, 2])
    """
    starts = [name.removesuffix("A_hat") for name in state if f".{name}".endswith(".A_hat")]
    names = [f"gconv{n}.fc.{key}" for n in (1, 2, 3) for key in ("weight", "bias")]
    if len(starts) != 1 or any(f"{starts[0]}{name}" not in state for name in names):
        raise ValueError(
            f"state: expected one GraphNet, with A_hat, {', '.join(names)}; got {', '.join(state)}"
        )
    given = {name: state[starts[0] + name] for name in (*names, "A_hat")}
    first, second, last = (given[f"gconv{n}.fc.weight"] for n in (1, 2, 3))
    widths = (len(first), len(second))
    net = GraphNet(first.shape[1], len(last), len(given["A_hat"]), widths)
    places: dict[str, Tensor] = {"A_hat": net.adjacency}
    for number, conv in enumerate(net.convs, 1):
        lin = cast("AdaptiveGraphConv", conv).lin
        places[f"gconv{number}.fc.weight"] = lin.weight
        places[f"gconv{number}.fc.bias"] = lin.bias
    for name, place in places.items():
        if place.shape != given[name].shape:
            raise ValueError(
                f"state: expected {name} {list(place.shape)}, got {list(given[name].shape)}"
            )
        with torch.no_grad():
            place.copy_(given[name])
    return net
