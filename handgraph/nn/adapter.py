"""Any graph convolution of PyG as a layer over one fixed skeleton."""

from __future__ import annotations

import copy
import math
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.parameter import is_lazy
from torch_geometric.nn import MessagePassing

from handgraph._check import check_count, check_joints, check_skeleton
from handgraph.nn.composed import Composed
from handgraph.nn.constants import HasConstants
from handgraph.nn.skeleton_edges import SkeletonEdges, copies_of
from handgraph.skeleton import Skeleton


class SkeletonConv(HasConstants, Composed):
    """Apply a convolution ``conv(x, edge_index)`` to a batch of poses of one skeleton.

    PyG has two layouts for such a batch. The static layout is ``[B, J, C]`` with one
    ``edge_index``. It copies nothing. Some convolutions do not support it, and some silently give
    wrong results. The disjoint layout is ``[B * J, C]`` with B copies of the edges. All
    convolutions support it. The layout is chosen at construction by running a copy of the
    convolution, in eval mode and with noise on its parameters: a batch of poses must give the same
    output as each pose alone. Static is tested first for a ``MessagePassing``, disjoint first for
    other modules. The test changes neither the convolution nor the random generators. Only x and
    the edges are passed to the convolution. Call layers that need ``batch`` (``GPSConv``, graph
    norms) on the batches of :func:`from_dense` instead.

    Args:
        conv: The convolution, such as ``GATv2Conv(2, 16)``.
        skeleton: The skeleton whose edges are passed to ``conv``.
        in_channels: Size of each input node; by default ``conv.in_channels``.

    Shapes:
        - input: ``[*, J, in_channels]``
        - output: ``[*, J, out_channels]``

    Raises:
        ValueError: If ``in_channels`` is unknown, the convolution has uninitialised parameters,
            mixes poses or caches its first input, or the input does not have the skeleton's
            joints.

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
        check_skeleton(skeleton, "SkeletonConv")
        self.conv = conv
        self.skeleton = skeleton
        self.in_channels = _in_channels(conv) if in_channels is None else in_channels
        check_count(self.in_channels, "in_channels", 1)
        parameter = next(conv.parameters(), torch.empty(0))
        self.register_constants(parameter.device, edge_index=skeleton.edge_index)
        self.is_static, self.out_channels = _probe(conv, skeleton, self.in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve every pose on the skeleton."""
        check_joints(x, "the input of SkeletonConv", self.skeleton, self.edge_index)
        graphs = math.prod(x.shape[:-2])
        flat = x.reshape(graphs, *x.shape[-2:])
        if graphs == 0:  # run one pose of zeros, and drop its output
            flat = pad(flat, (0, 0, 0, 0, 0, 1))
        out = _convolve(self.conv, flat, self.edge_index, self.is_static)[:graphs]
        return out.reshape(*x.shape[:-1], out.shape[-1])

    def __repr__(self) -> str:
        """Return the convolution, skeleton and layout."""
        layout = "static" if self.is_static else "disjoint"
        return f"SkeletonConv({self.conv}, {self.skeleton.name}, {layout})"


def _convolve(conv: nn.Module, x: Tensor, edge_index: Tensor, is_static: bool) -> Tensor:
    """Call a convolution on poses ``[B, J, C]`` in the static or the disjoint layout."""
    edges = edge_index if is_static else copies_of(edge_index, x.shape[1], x.shape[0])
    out: Tensor = conv(x if is_static else x.flatten(0, 1), edges)
    return out.reshape(*x.shape[:2], out.shape[-1])


def _in_channels(conv: nn.Module) -> int:
    in_channels = getattr(conv, "in_channels", None)
    if not isinstance(in_channels, Integral):
        raise ValueError(
            f"SkeletonConv: expected {conv} to have in_channels as int, got {in_channels}: "
            "call SkeletonConv(conv, skeleton, in_channels)"
        )
    return int(in_channels)


def _probe(conv: nn.Module, skeleton: Skeleton, in_channels: int) -> tuple[bool, int]:
    """Return whether the static layout is used, and the number of output channels."""
    if any(is_lazy(parameter) for parameter in conv.parameters()):
        raise ValueError(
            f"SkeletonConv: {conv} has uninitialised parameters: "
            "call it once before, or construct it with in_channels"
        )
    generator = torch.Generator("cpu").manual_seed(0)
    poses = 4 if skeleton.num_joints == 3 else 3  # not the number of joints
    shape = (poses, skeleton.num_joints, in_channels)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        conv = _noisy_copy(conv, generator)
        x = torch.randn(shape, generator=generator, dtype=_dtype(conv), device="cpu")
        edge_index = skeleton.edge_index.cpu()
        alone = torch.stack([copy.deepcopy(conv)(pose, edge_index) for pose in x])
        for is_static in (True, False) if _knows_static(conv) else (False, True):
            try:
                found = _convolve_again(conv, x, edge_index, is_static)
            except Exception:  # a convolution may raise anything in an unsupported layout
                continue
            if _agree(found, alone):
                return is_static, alone.shape[-1]
            if not is_static:  # in the static layout it may read out of bounds
                break
    raise ValueError(
        f"SkeletonConv: expected {conv} to give equal outputs for poses of {skeleton.name} batched "
        "and alone: it mixes poses, caches its input (cached=True), or is random in eval mode"
    )


def _knows_static(conv: nn.Module) -> bool:
    """Return whether the convolution supports static graphs or raises an error for them."""
    return isinstance(conv, MessagePassing) or isinstance(
        getattr(conv, "edges", None), SkeletonEdges
    )


def _convolve_again(conv: nn.Module, x: Tensor, edge_index: Tensor, is_static: bool) -> Tensor:
    """Return the output in a layout after a call with other poses."""
    conv = copy.deepcopy(conv)
    _convolve(conv, x.flip(0), edge_index, is_static)
    return _convolve(conv, x, edge_index, is_static)


def _dtype(conv: nn.Module) -> torch.dtype:
    """Return the dtype of the parameters, at least float32."""
    dtypes = [p.dtype for p in conv.parameters() if p.is_floating_point()]
    return torch.promote_types(dtypes[0], torch.float32) if dtypes else torch.get_default_dtype()


def _noisy_copy(conv: nn.Module, generator: torch.Generator) -> nn.Module:
    """Return a copy in eval mode whose parameters have no special values, such as 0 or 1."""
    conv = copy.deepcopy(conv).to("cpu", _dtype(conv)).eval()
    for tensor in (*conv.parameters(), *conv.buffers()):
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype, device="cpu")
            tensor.add_(noise, alpha=0.1)
    return conv


def _agree(out: Tensor, expected: Tensor) -> bool:
    """Return whether outputs are equal up to rounding of the largest value."""
    same_shape = out.shape == expected.shape
    limit = 1e3 * torch.finfo(expected.dtype).eps * expected.abs().max()
    return same_shape and bool((out - expected).abs().max() <= limit)
