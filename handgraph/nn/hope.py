"""Weights of the published graph U-Net of HOPE-Net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from handgraph.nn.unet import AdaptiveGraphUNet
from handgraph.skeleton import Skeleton


def load_hope_weights(state: Mapping[str, Tensor]) -> AdaptiveGraphUNet:
    """Build a graph U-Net from weights that the published code of HOPE-Net saved.

    The names are those of ``GraphUNet`` in the code of Doosti et al. (CVPR 2020). With L levels,
    ``A_0`` to ``A_L`` are adjacencies; the last one, of one node, is unused and ignored.
    ``gconv1.fc`` to ``gconvL.fc`` and ``pool1.fc`` to ``poolL.fc`` are the encoder, ``fc1`` and
    ``fc2`` the bottleneck, ``unpool(L+1).fc`` and ``gconv(L+1).fc`` to ``2L`` the decoder. Node
    counts, widths and channels follow from the shapes. The net has signed degrees, as published
    (decision 11). A negative column sum of an adjacency gives NaN, as in the published code.

    Args:
        state: The state dict of ``GraphUNet``, or of a net that contains it as ``graphunet``, with
            or without the ``module.`` of ``nn.DataParallel``. Other entries are ignored.

    Returns:
        The net, over unnamed nodes, ``[*, J, in] -> [*, J, out]``.

    Raises:
        ValueError: If a tensor is missing, unexpected or has the wrong shape.

    Example:
        >>> import torch
        >>> from handgraph.nn import load_hope_weights
        >>> linear = {"gconv1": (2, 4), "pool1": (3, 1), "fc1": (4, 20), "fc2": (20, 4)}
        >>> linear |= {"unpool2": (1, 3), "gconv2": (8, 3)}  # one level of three nodes
        >>> state = {"A_0": torch.eye(3), "A_1": torch.eye(1)}
        >>> for name, (ins, outs) in linear.items():
        ...     path = name if name in ("fc1", "fc2") else f"{name}.fc"
        ...     state |= {f"{path}.weight": torch.rand(outs, ins), f"{path}.bias": torch.rand(outs)}
        >>> load_hope_weights(state)
        AdaptiveGraphUNet(2, 3, edgeless(3), nodes=(3, 1))
    """
    if not isinstance(state, Mapping):
        raise TypeError(
            f"state: expected a state dict, got {type(state).__name__}: for a file, call "
            "torch.load(file, weights_only=True)"
        )
    given = _graph_unet(state)
    net = _sized(given)
    layout = _layout(net)
    given.pop(f"A_{len(net.adjacency)}", None)  # of the bottleneck's node, and unused
    if differing := given.keys() ^ layout.keys():
        raise ValueError(
            f"state: expected a GraphUNet of {len(net.adjacency)} levels, missing or unexpected: "
            f"{', '.join(sorted(differing))}"
        )
    for name, parameter in layout.items():
        if given[name].shape != parameter.shape:
            raise ValueError(
                f"state: expected {name} {list(parameter.shape)}, got {list(given[name].shape)}"
            )
        with torch.no_grad():
            parameter.copy_(given[name])
    return net


def _graph_unet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries of the graph U-Net, without the prefix of their names."""
    starts = [name[: -len("A_0")] for name in state if f".{name}".endswith(".A_0")]
    if len(starts) != 1:
        raise ValueError(
            f"state: expected the weights of one GraphUNet, with an A_0, got {len(starts)} "
            f"in {', '.join(state) or 'nothing'}"
        )
    start = starts[0]
    return {name.removeprefix(start): v for name, v in state.items() if name.startswith(start)}


def _sized(given: Mapping[str, Tensor]) -> AdaptiveGraphUNet:
    """Build a net with the sizes of the weights."""
    nodes = [len(given[f"A_{level}"]) for level in range(len(given)) if f"A_{level}" in given]
    last = f"gconv{2 * (len(nodes) - 1)}.fc.weight"
    wanted = ("gconv1.fc.weight", "fc1.weight", last)
    missing = [name for name in wanted if name not in given]
    if missing:
        raise ValueError(f"state: expected {', '.join(missing)} in a GraphUNet, got {len(given)}")
    channels, in_channels = given["gconv1.fc.weight"].shape
    net = AdaptiveGraphUNet(
        in_channels,
        len(given[last]),
        Skeleton.edgeless(nodes[0]),
        channels=channels,
        nodes=nodes,
        bottleneck_channels=len(given["fc1.weight"]),
        normalization="signed",
    )
    return net.to(given["A_0"])


def _layout(net: AdaptiveGraphUNet) -> dict[str, Tensor]:
    """Map published names to our parameters, in the published shapes."""
    levels = len(net.adjacency)
    linear: dict[str, Any] = {"fc1": net.squeeze, "fc2": net.expand}
    for level in range(levels):
        down, up = level + 1, 2 * levels - level
        linear[f"gconv{down}.fc"] = net.encoder[level].lin
        linear[f"pool{down}.fc"] = net.pools[level]
        linear[f"unpool{up}.fc"] = net.unpools[level]
        linear[f"gconv{up}.fc"] = net.decoder[level].lin
    layout = {f"A_{level}": net.adjacency[level][0] for level in range(levels)}
    for name, layer in linear.items():
        layout[f"{name}.weight"], layout[f"{name}.bias"] = layer.weight[0], layer.bias[0].view(-1)
    return layout
