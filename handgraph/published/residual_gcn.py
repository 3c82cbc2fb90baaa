"""The residual nets of SemGCN and Modulated GCN, and their published weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from handgraph._check import check_count, check_skeleton, check_tensor
from handgraph.nn import ModulatedGraphConv, SemGraphConv
from handgraph.nn.constants import HasConstants
from handgraph.skeleton import Skeleton


class ResidualGCN(HasConstants):
    r"""The residual net of SemGCN and of Modulated GCN, without their non-local layers.

    An input convolution, residual blocks of two convolutions, and an output convolution. Batch norm
    and ReLU follow all but the last. Zhao et al., "Semantic Graph Convolutional Networks for
    3D Human Pose Regression", CVPR 2019; Zou and Tang, "Modulated Graph Convolutional Network for
    3D Human Pose Estimation", ICCV 2021.

    Args:
        in_channels: Size of each input node.
        out_channels: Size of each output node.
        skeleton: The skeleton.
        conv: Layer class, called as ``conv(in_channels, out_channels, skeleton)``:
            :class:`SemGraphConv` or :class:`ModulatedGraphConv`.
        channels: Hidden channels.
        num_blocks: Number of residual blocks.

    Shapes:
        - input: ``[*, J, in_channels]``
        - output: ``[*, J, out_channels]``

    Raises:
        TypeError: If ``skeleton`` is not a skeleton, or the input is not a tensor.
        ValueError: If the input has the wrong number of joints or channels.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.published import ResidualGCN
        >>> ResidualGCN(2, 3, HAND)(torch.rand(8, 21, 2)).shape
        torch.Size([8, 21, 3])
    """

    edge_index: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        skeleton: Skeleton,
        *,
        conv: Callable[[int, int, Skeleton], nn.Module] = SemGraphConv,
        channels: int = 128,
        num_blocks: int = 4,
    ):
        super().__init__()
        check_skeleton(skeleton, "ResidualGCN")
        check_count(num_blocks, "num_blocks", 0)
        self.skeleton = skeleton
        self.register_constants(edge_index=skeleton.edge_index)
        wide = partial(conv, channels, channels, skeleton)
        self.input = _Block(conv(in_channels, channels, skeleton), channels)
        pairs = ([_Block(wide(), channels), _Block(wide(), channels)] for _ in range(num_blocks))
        self.blocks = nn.ModuleList(nn.ModuleList(pair) for pair in pairs)
        self.output = conv(channels, out_channels, skeleton)

    def forward(self, x: Tensor) -> Tensor:
        """Estimate every joint's output from all joints."""
        check_tensor(x, "the input of ResidualGCN")
        x = self.input(x, self.edge_index)
        for pair in self.blocks:
            first, second = cast("nn.ModuleList", pair)
            x = x + second(first(x, self.edge_index), self.edge_index)
        out: Tensor = self.output(x, self.edge_index)
        return out


class _Block(nn.Module):
    """A convolution, a batch norm over all joints and samples, and a ReLU."""

    def __init__(self, conv: nn.Module, channels: int):
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        out: Tensor = self.conv(x, edge_index)
        normed: Tensor = self.norm(out.flatten(0, -2))
        return normed.view_as(out).relu()


def load_gcn_weights(state: Mapping[str, Tensor], skeleton: Skeleton) -> ResidualGCN:
    """Build a SemGCN or Modulated GCN from weights that the published code saved.

    Args:
        state: The state dict of ``SemGCN`` or ``ModulatedGCN``, with or without the ``module.`` of
            ``nn.DataParallel``.
        skeleton: The skeleton, with the joints in the order of training.

    Returns:
        The net in eval mode, ``[*, J, in] -> [*, J, out]``.

    Raises:
        ValueError: If a tensor is missing, unexpected or has the wrong shape, or the net has
            non-local layers.

    Example:
        >>> import torch
        >>> from handgraph import Skeleton
        >>> from handgraph.published import load_gcn_weights
        >>> pair = Skeleton("pair", ("a", "b"), (("a", "b"),))
        >>> layer = {"W": torch.rand(2, 2, 3), "e": torch.ones(1, 4), "bias": torch.rand(3)}
        >>> norm = {"running_mean": torch.rand(3), "running_var": torch.ones(3)}
        >>> norm |= {"weight": torch.ones(3), "bias": torch.rand(3)}
        >>> state = {f"gconv_input.0.gconv.{name}": value for name, value in layer.items()}
        >>> state |= {f"gconv_input.0.bn.{name}": value for name, value in norm.items()}
        >>> layer["W"] = torch.rand(2, 3, 3)
        >>> state |= {f"gconv_output.{name}": value for name, value in layer.items()}
        >>> load_gcn_weights(state, pair)(torch.rand(5, 2, 2)).shape
        torch.Size([5, 2, 3])
    """
    check_skeleton(skeleton, "load_gcn_weights")
    given = {name.removeprefix("module."): value for name, value in state.items()}
    if any("non_local" in name or "nonlocal" in name for name in given):
        raise ValueError("state: non-local layers are not supported")
    if "gconv_input.0.gconv.W" not in given or "gconv_output.W" not in given:
        raise ValueError(f"state: expected a SemGCN or a ModulatedGCN, got {', '.join(given)}")
    (_, in_channels, channels), out = given["gconv_input.0.gconv.W"].shape, given["gconv_output.W"]
    conv = ModulatedGraphConv if "gconv_output.M" in given else SemGraphConv
    blocks = {name.split(".")[1] for name in given if name.startswith("gconv_layers.")}
    sizes = {"channels": channels, "num_blocks": len(blocks)}
    net = ResidualGCN(in_channels, out.shape[2], skeleton, conv=conv, **sizes)
    layout = _places(net)
    _check_names(given, layout)
    for name, parts in layout.items():
        _copy(name, given[name], parts, skeleton)
    return net.eval()


def _places(net: ResidualGCN) -> dict[str, list[Tensor]]:
    """Return our tensors by published name; published layers store two matrices as one tensor."""
    blocks: dict[str, Any] = {"gconv_input.0": net.input}
    for number, pair in enumerate(net.blocks):
        first, second = cast("Any", pair)
        blocks[f"gconv_layers.{number}.gconv1"] = first
        blocks[f"gconv_layers.{number}.gconv2"] = second
    found = _places_of_conv("gconv_output", net.output)
    for name, block in blocks.items():
        found |= _places_of_conv(f"{name}.gconv", block.conv)
        for key in ("weight", "bias", "running_mean", "running_var"):
            found[f"{name}.bn.{key}"] = [getattr(block.norm, key)]
    return found


def _places_of_conv(name: str, conv: Any) -> dict[str, list[Tensor]]:  # noqa: ANN401
    found = {f"{name}.W": [conv.lin_self.weight, conv.lin_neighbor.weight]}
    found[f"{name}.bias"] = [conv.bias]
    if isinstance(conv, ModulatedGraphConv):
        return found | {
            f"{name}.M": [conv.weight_modulation],
            f"{name}.adj2": [conv.affinity_modulation],
        }
    return found | {f"{name}.e": [conv.edge_logit]}


def _check_names(given: Mapping[str, Tensor], layout: Mapping[str, object]) -> None:
    """Raise unless the names are those of the net; ``num_batches_tracked`` is optional."""
    rest = {name for name in given if not name.endswith("num_batches_tracked")}
    if rest != layout.keys():
        odd = ", ".join(sorted(rest ^ layout.keys()))
        raise ValueError(f"state: missing or unexpected: {odd}")


def _copy(name: str, value: Tensor, parts: list[Tensor], skeleton: Skeleton) -> None:
    """Copy a published tensor to our tensors."""
    if name.endswith(".e"):
        value = _in_our_order(value, skeleton)
    pieces = [one.mT for one in value] if name.endswith(".W") else [value]
    for piece, part in zip(pieces, parts, strict=True):
        if piece.shape != part.shape:
            raise ValueError(f"state: {name} {list(value.shape)} does not fit {skeleton.name}")
        with torch.no_grad():
            part.copy_(piece)


def _in_our_order(logits: Tensor, skeleton: Skeleton) -> Tensor:
    """Reorder edge logits from the rows of the adjacency to the order of ``edge_index``."""
    linked = skeleton.adjacency(dtype=torch.bool) | torch.eye(skeleton.num_joints, dtype=torch.bool)
    if logits.shape != (1, int(linked.sum())):
        return logits  # _copy raises
    rows = torch.full(linked.shape, -1)
    rows[linked] = torch.arange(logits.shape[1])
    source, target = skeleton.edge_index
    return logits[0][torch.cat([rows[target, source], rows.diagonal()])].unsqueeze(1)
