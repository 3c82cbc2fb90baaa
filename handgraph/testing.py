"""Assertions that all layers of handgraph pass, for tests of your own layers.

Each raises an ``AssertionError`` that names the expected result and the joint or branch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from handgraph.nn.pyg import from_dense
from handgraph.skeleton import Skeleton
from handgraph.subgraph import RemovalSets

__all__ = [
    "assert_compiles",
    "assert_no_leak",
    "assert_relabelling",
    "assert_static_matches_disjoint",
]


def assert_no_leak(
    branches: Callable[[Tensor], Tensor],
    removal: RemovalSets,
    in_channels: int,
    *,
    generator: torch.Generator | None = None,
) -> None:
    """Assert that a branch does not depend on the joints that it removes.

    This property of the paper's parallel networks (section 2, Fig. 1b) is checked in two ways. The
    gradient of every branch with respect to its removed joints must be exactly 0. NaN in these
    joints must not reach the branch. A positive control guards against a trivial pass: the gradient
    with respect to the kept joints must not be 0, and the NaN must reach every branch that keeps
    one of these joints.

    Args:
        branches: Function from a pose of all joints to the outputs of all branches.
        removal: The removal sets.
        in_channels: Channels of the pose.
        generator: Random number generator of the pose.

    Shapes:
        - input of ``branches``: ``[8, J, in_channels]``, in the default dtype
        - output of ``branches``: ``[8, N, K, C]``, any C

    Raises:
        AssertionError: If the output has the wrong shape, a branch depends on a removed joint, or
            does not depend on its kept joints.

    Example:
        >>> from handgraph import HAND, RemovalSets
        >>> from handgraph.nn import AdaptiveGraphUNet, SubgraphMask
        >>> from handgraph.testing import assert_no_leak
        >>> removal = RemovalSets.by_level(HAND)
        >>> split, net = SubgraphMask(removal), AdaptiveGraphUNet(2, 3, removal)
        >>> assert_no_leak(lambda pose: net(split(pose)), removal, in_channels=2)
        >>> try:  # branches that average over all joints first
        ...     assert_no_leak(lambda pose: split(pose + pose.mean(-2, True)), removal, 2)
        ... except AssertionError as error:
        ...     print(error)
        expected branch 'TIP' to have gradient 0 at its removed joint thumb_tip
    """
    pose = torch.randn(8, removal.skeleton.num_joints, in_channels, generator=generator)
    outputs = branches(pose.requires_grad_())
    nodes = (len(pose), len(removal), removal.num_nodes)
    if outputs.dim() != 4 or outputs.shape[:3] != nodes:
        raise AssertionError(
            f"expected branches of shape [{', '.join(map(str, nodes))}, C] for {removal}, "
            f"got {list(outputs.shape)}"
        )
    weights = torch.randn(outputs.shape, generator=generator).to(outputs)
    for n in range(len(removal)):
        loss = (weights[:, n] * outputs[:, n]).sum()
        (gradient,) = torch.autograd.grad(loss, pose, retain_graph=True)
        _check_gradient(gradient, removal, n)
    for n in range(len(removal)):
        _check_nan(branches, pose.detach(), removal, n)


def _check_gradient(gradient: Tensor, removal: RemovalSets, n: int) -> None:
    nonzero = (gradient != 0).any(dim=-1).any(dim=0)
    keep = removal.keep_mask[n]
    for j in (nonzero & ~keep).nonzero().flatten().tolist():
        raise AssertionError(
            f"expected branch {removal.names[n]!r} to have gradient 0 at its removed joint "
            f"{removal.skeleton.joints[j]}"
        )
    if not nonzero.any():
        raise AssertionError(
            f"expected branch {removal.names[n]!r} to have a gradient at some kept joint, got 0"
        )


def _check_nan(
    branches: Callable[[Tensor], Tensor], pose: Tensor, removal: RemovalSets, n: int
) -> None:
    """Put NaN into the removed joints of branch n, and check which branches it reaches."""
    lost = ~removal.keep_mask[n]
    reached = branches(pose.masked_fill(lost.unsqueeze(-1), torch.nan)).isnan()
    for m, name in enumerate(removal.names):
        arrives, keeps = bool(reached[:, m].any()), bool((removal.keep_mask[m] & lost).any())
        if arrives != keeps:
            raise AssertionError(
                f"NaN in the joints that branch {removal.names[n]!r} removes "
                f"{'reaches' if arrives else 'does not reach'} branch {name!r}, which "
                f"{'keeps some' if keeps else 'keeps none'} of them"
            )


def assert_relabelling(
    layer: Callable[[Tensor, Skeleton], Tensor],
    skeleton: Skeleton,
    in_channels: int,
    *,
    generator: torch.Generator | None = None,
) -> None:
    r"""Assert that a layer depends on the names of the joints and not on their order.

    A permutation :math:`\pi` of the joints of skeleton and input must permute the output in the
    same way: :math:`f(\pi x, \pi S) = \pi f(x, S)`. The permutation moves every joint.

    Args:
        layer: Function of input and skeleton.
        skeleton: The skeleton.
        in_channels: Channels of the input.
        generator: Random number generator of the input and the permutation.

    Shapes:
        - input of ``layer``: ``[4, J, in_channels]``, in the default dtype
        - output of ``layer``: ``[4, J, C]``, any C

    Raises:
        AssertionError: If the outputs differ, have the wrong shape, or are the same for all
            joints.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.testing import assert_relabelling
        >>> assert_relabelling(lambda x, s: s.adjacency() @ x, HAND, in_channels=2)
        >>> weight = torch.rand(21, 1)  # belongs to joints, but has no names
        >>> try:
        ...     assert_relabelling(lambda x, s: weight * x, HAND, in_channels=2)
        ... except AssertionError as error:
        ...     print(str(error).splitlines()[0])
        expected the output to be permuted like the joints of HAND
    """
    round_trip = torch.randperm(skeleton.num_joints, generator=generator)
    order = torch.empty_like(round_trip).scatter(0, round_trip, round_trip.roll(1))
    shuffled = skeleton.reorder("relabelled", [skeleton.joints[i] for i in order.tolist()])
    index = shuffled.index_from(skeleton)
    x = torch.randn(4, skeleton.num_joints, in_channels, generator=generator)
    output = layer(x, skeleton)
    if output.dim() != 3 or output.shape[:2] != x.shape[:2]:
        raise AssertionError(
            f"expected an output of shape [4, {skeleton.num_joints}, C], got {list(output.shape)}"
        )
    if bool((output == output[:, :1]).all()) and skeleton.num_joints > 1:
        raise AssertionError("expected an output that differs between joints, got equal rows")
    wrong = f"expected the output to be permuted like the joints of {skeleton.name}"
    expected = output[:, index]
    assert_close(layer(x[:, index], shuffled), expected, msg=lambda text: f"{wrong}\n{text}")


def assert_static_matches_disjoint(
    conv: Callable[[Tensor, Tensor], Tensor],
    skeleton: Skeleton,
    in_channels: int,
    *,
    generator: torch.Generator | None = None,
) -> None:
    """Assert that a graph layer gives the same output for static and for disjoint graphs.

    PyG has two layouts for a batch of one graph: static ``[B, J, C]`` with one ``edge_index``, and
    disjoint ``[B * J, C]`` with B copies of the edges. For a layer that takes an adjacency, call
    PyG's ``to_dense_adj``, as in the example.

    Args:
        conv: Function of x and ``edge_index``.
        skeleton: The skeleton.
        in_channels: Channels of the input.
        generator: Random number generator of the input.

    Shapes:
        - input of ``conv``: ``[3, J, in_channels]``, then ``[3 * J, in_channels]``
        - output of ``conv``: ``[3, J, C]``, then ``[3 * J, C]``

    Raises:
        AssertionError: If the outputs differ, or are the same for all samples.

    Example:
        >>> from torch_geometric.nn import GCNConv
        >>> from torch_geometric.utils import to_dense_adj
        >>> from handgraph import HAND
        >>> from handgraph.nn import AdaptiveGraphConv
        >>> from handgraph.testing import assert_static_matches_disjoint
        >>> assert_static_matches_disjoint(GCNConv(2, 4), HAND, in_channels=2)
        >>> dense = AdaptiveGraphConv(2, 4)
        >>> conv = lambda x, edge_index: dense(x, to_dense_adj(edge_index)[0])
        >>> assert_static_matches_disjoint(conv, HAND, in_channels=2)
    """
    x = torch.randn(3, skeleton.num_joints, in_channels, generator=generator)
    static = conv(x, skeleton.edge_index)
    if bool((static == static[:1]).all()):
        raise AssertionError("expected an output that differs between samples, got equal ones")
    batch = from_dense(x, skeleton)
    disjoint = conv(batch["x"], batch["edge_index"])
    wrong = f"static and disjoint graphs of {skeleton.name} give different outputs"
    assert_close(disjoint, static.flatten(0, 1), msg=lambda text: f"{wrong}\n{text}")


def assert_compiles(
    module: Callable[..., Any], *inputs: Tensor, backend: str = "aot_eager"
) -> None:
    """Assert that ``torch.compile(fullgraph=True)`` changes neither values nor gradients.

    The gradients are those of a random weighted sum of all differentiable outputs, with respect to
    the inputs and, if ``module`` is a module, its parameters. ``torch.compiler.reset()`` is called
    before and after.

    Args:
        module: A module, or a function of tensors.
        inputs: Its arguments. Gradients are computed for the floating-point ones.
        backend: Backend of ``torch.compile``. ``"aot_eager"`` traces forward and backward as
            ``"inductor"`` does, but is faster and needs no compiler.

    Raises:
        AssertionError: If values or gradients differ.

    Example:
        >>> import torch
        >>> from handgraph.testing import assert_compiles
        >>> assert_compiles(torch.nn.Linear(2, 3), torch.rand(8, 2), backend="eager")
    """
    torch.compiler.reset()
    try:
        compiled = torch.compile(module, fullgraph=True, backend=backend)
        parameters = list(module.parameters()) if isinstance(module, nn.Module) else []
        expected = _values_and_gradients(module, inputs, parameters)
        assert_close(_values_and_gradients(compiled, inputs, parameters), expected, equal_nan=True)
    finally:
        torch.compiler.reset()


def _values_and_gradients(
    function: Callable[..., Any], inputs: tuple[Tensor, ...], parameters: list[nn.Parameter]
) -> tuple[list[Tensor], list[Tensor]]:
    inputs = tuple(x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs)
    result = function(*inputs)
    outputs = [result] if isinstance(result, Tensor) else list(result)
    leaves = [x for x in (*inputs, *parameters) if x.requires_grad]
    generator = torch.Generator().manual_seed(0)
    smooth = [y for y in outputs if y.requires_grad]
    if not smooth:
        return outputs, []
    weighted = [(y * torch.randn(y.shape, generator=generator).to(y)).nansum() for y in smooth]
    loss = torch.stack(weighted).sum()
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return outputs, list(gradients)
