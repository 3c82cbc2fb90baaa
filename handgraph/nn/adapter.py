"""Any graph convolution of PyG as a layer over one fixed skeleton."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.parameter import is_lazy

from handgraph.nn.constants import HasConstants
from handgraph.nn.skeletal import check_joints
from handgraph.skeleton import Skeleton


class SkeletonConv(HasConstants):
    """Run a convolution that is called ``conv(x, edge_index)`` on many poses of one skeleton.

    PyG knows two layouts for that. Static: ``[B, J, C]`` with one ``edge_index``; nothing is
    copied, but not every convolution can do it, and some compute something else there without
    saying so. Disjoint: ``[B * J, C]`` with B copies of the edges, which all can do. Static is
    taken where it serves, and that is found out when the layer is made: a copy of the convolution,
    in eval mode and double precision and with noise on its parameters, must give in that layout
    what it gives for a few poses one by one. The convolution itself is not touched, nor the state
    of the random generators.

    Args:
        conv: The convolution, such as ``GATv2Conv(2, 16)``.
        skeleton: The skeleton whose edges it gets.
        in_channels: Size of each input node; by default ``conv.in_channels``.

    Shapes:
        - input: ``[*, J, in_channels]``
        - output: ``[*, J, out_channels]``

    Raises:
        ValueError: If the size of the input is unknown, the convolution has uninitialised
            parameters or mixes poses in both layouts, or the input does not have the joints.

    Example:
        >>> import torch
        >>> from torch_geometric.nn import GATv2Conv, GCNConv
        >>> from handgraph import HAND
        >>> from handgraph.nn import SkeletonConv
        >>> SkeletonConv(GATv2Conv(2, 8, heads=4), HAND)(torch.rand(5, 6, 21, 2)).shape
        torch.Size([5, 6, 21, 32])
        >>> SkeletonConv(GCNConv(2, 8), HAND).is_static  # GATv2Conv refuses static graphs
        True
    """

    edge_index: Tensor

    def __init__(self, conv: nn.Module, skeleton: Skeleton, in_channels: int | None = None):
        super().__init__()
        self.conv = conv
        self.skeleton = skeleton
        self.in_channels = _in_channels(conv) if in_channels is None else in_channels
        parameter = next(conv.parameters(), torch.empty(0))
        self.register_constants(parameter.device, edge_index=skeleton.edge_index)
        self.is_static, self.out_channels = _probe(conv, skeleton, self.in_channels)

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        self.conv.reset_parameters()  # type: ignore[operator]  # every convolution of PyG has it

    def forward(self, x: Tensor) -> Tensor:
        """Convolve every pose on the skeleton."""
        joints = self.skeleton.num_joints
        check_joints(self, x, joints, self.skeleton.name)
        graphs = math.prod(x.shape[:-2])
        flat = x.reshape(graphs, *x.shape[-2:])
        if graphs == 0:  # one pose of zeros, which is cut off again
            flat = pad(flat, (0, 0, 0, 0, 0, 1))
        layout = _static if self.is_static else _disjoint
        out = layout(self.conv, flat, self.edge_index)[:graphs]
        return out.reshape(*x.shape[:-1], out.shape[-1])

    def __repr__(self) -> str:
        """Convolution, skeleton and layout."""
        layout = "static" if self.is_static else "disjoint"
        return f"SkeletonConv({self.conv}, {self.skeleton.name}, {layout})"


def _static(conv: nn.Module, x: Tensor, edge_index: Tensor) -> Tensor:
    out: Tensor = conv(x, edge_index)
    return out


def _disjoint(conv: nn.Module, x: Tensor, edge_index: Tensor) -> Tensor:
    first = torch.arange(x.shape[0], device=x.device) * x.shape[1]
    edges = (edge_index.unsqueeze(1) + first.unsqueeze(1)).flatten(1)
    out: Tensor = conv(x.flatten(0, 1), edges)
    return out.reshape(*x.shape[:2], out.shape[-1])


def _in_channels(conv: nn.Module) -> int:
    in_channels = getattr(conv, "in_channels", None)
    if not isinstance(in_channels, int):
        raise ValueError(
            f"SkeletonConv: {conv} does not say its in_channels (it has {in_channels}): "
            "give them as SkeletonConv(conv, skeleton, in_channels)"
        )
    return in_channels


def _probe(conv: nn.Module, skeleton: Skeleton, in_channels: int) -> tuple[bool, int]:
    """Whether the static layout will do, and the number of channels that come out."""
    if any(is_lazy(parameter) for parameter in conv.parameters()):
        raise ValueError(
            f"SkeletonConv: {conv} takes its sizes from its first call; "
            "call it once before, or give it its in_channels"
        )
    generator = torch.Generator("cpu").manual_seed(0)
    poses = 4 if skeleton.num_joints == 3 else 3  # a convolution may take one for the other
    shape = (poses, skeleton.num_joints, in_channels)
    x = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
    edge_index = skeleton.edge_index.cpu()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        conv = _noisy_copy(conv, generator)
        alone = torch.stack([conv(pose, edge_index) for pose in x])
        try:
            is_static = _agree(_static(conv, x, edge_index), alone)
        except Exception:  # whatever a convolution says of a layout that it does not know
            is_static = False
        if not is_static and not _agree(_disjoint(conv, x, edge_index), alone):
            raise ValueError(
                f"SkeletonConv: {conv} gives other values on copies of {skeleton.name} than "
                "on each alone: it mixes them, or is random in eval mode"
            )
    return is_static, alone.shape[-1]


def _noisy_copy(conv: nn.Module, generator: torch.Generator) -> nn.Module:
    """A copy in eval mode in which no parameter has a special value, such as 0 or 1."""
    conv = copy.deepcopy(conv).to("cpu", torch.float64).eval()
    for tensor in (*conv.parameters(), *conv.buffers()):
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype, device="cpu")
            tensor.add_(noise, alpha=0.1)
    return conv


def _agree(out: Tensor, expected: Tensor) -> bool:
    """Equal up to rounding, of the largest value."""
    same_shape = out.shape == expected.shape
    return same_shape and bool((out - expected).abs().max() <= 1e-6 * expected.abs().max())
