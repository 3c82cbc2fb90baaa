"""The checks that the layers here pass, for those who write their own.

Each raises an ``AssertionError`` that says what was expected, for which joint or branch.
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

__all__ = ["assert_compiles", "assert_layouts_agree", "assert_no_leak", "assert_relabelling"]


def assert_no_leak(
    branches: Callable[[Tensor], Tensor],
    removal: RemovalSets,
    in_channels: int,
    *,
    generator: torch.Generator | None = None,
) -> None:
    """Assert that removed joints have exactly no influence on the branches that lost them.

    The promise of the paper's parallel networks (section 2, Fig. 1b), checked in two ways. The
    gradient of every branch with respect to the joints that it lost is exactly 0; and NaN in these
    joints does not reach the branch. To be sure that the check sees anything at all, the gradient
    with respect to the joints that a branch keeps must not vanish, and the same NaN must reach
    every branch that keeps one of the joints.

    Args:
        branches: What to check; takes a pose of all joints to the outputs of all branches.
        removal: The removal sets.
        in_channels: Channels of the pose.
        generator: Where the random pose comes from.

    Shapes:
        - input of ``branches``: ``[8, J, in_channels]``, in the default dtype
        - output of ``branches``: ``[8, N, K, C]``, any C

    Raises:
        AssertionError: If the output has another shape, or a joint has influence where it must
            not, or none where it should.

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
        branch 'TIP' lost thumb_tip, yet its gradient there is not exactly 0
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
    felt = (gradient != 0).any(dim=-1).any(dim=0)
    keep = removal.keep_mask[n]
    for j in (felt & ~keep).nonzero().flatten().tolist():
        raise AssertionError(
            f"branch {removal.names[n]!r} lost {removal.skeleton.joints[j]}, yet its gradient "
            "there is not exactly 0"
        )
    if not felt.any():
        raise AssertionError(
            f"the gradient of branch {removal.names[n]!r} is 0 for every joint, so it says nothing"
        )


def _check_nan(
    branches: Callable[[Tensor], Tensor], pose: Tensor, removal: RemovalSets, n: int
) -> None:
    """Put NaN into the joints that branch n lost, and see which branches it reaches."""
    lost = ~removal.keep_mask[n]
    reached = branches(pose.masked_fill(lost.unsqueeze(-1), torch.nan)).isnan()
    for m, name in enumerate(removal.names):
        arrives, keeps = bool(reached[:, m].any()), bool((removal.keep_mask[m] & lost).any())
        if arrives != keeps:
            raise AssertionError(
                f"NaN in the joints that branch {removal.names[n]!r} lost "
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
    r"""Assert that a layer goes by the joints' names and not by their numbers.

    With the joints in another order :math:`\pi`, in skeleton and input, the output must be the
    same in that order: :math:`f(\pi x, \pi S) = \pi f(x, S)`. No joint stays where it was.

    Args:
        layer: What to check; called with input and skeleton.
        skeleton: The skeleton.
        in_channels: Channels of the input.
        generator: Where the random input and the order come from.

    Shapes:
        - input of ``layer``: ``[4, J, in_channels]``, in the default dtype
        - output of ``layer``: ``[4, J, C]``, any C

    Raises:
        AssertionError: If the outputs differ, have no joints, or are the same for all joints (any
            order would do then).

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
        the output of the relabelled HAND is not the relabelled output
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
        raise AssertionError("the output is the same for all joints, so the check says nothing")
    wrong = f"the output of the relabelled {skeleton.name} is not the relabelled output"
    expected = output[:, index]
    assert_close(layer(x[:, index], shuffled), expected, msg=lambda text: f"{wrong}\n{text}")


def assert_layouts_agree(
    conv: Callable[[Tensor, Tensor], Tensor],
    skeleton: Skeleton,
    in_channels: int,
    *,
    generator: torch.Generator | None = None,
) -> None:
    """Assert that a graph layer does the same on static graphs and on disjoint ones.

    PyG knows two layouts for many samples of one graph: the static ``[B, J, C]`` with one
    ``edge_index``, and the disjoint ``[B * J, C]`` with B copies of the edges. A layer that is
    called with an adjacency is checked through PyG's ``to_dense_adj``, as in the example.

    Args:
        conv: What to check; called with x and ``edge_index``.
        skeleton: The skeleton.
        in_channels: Channels of the input.
        generator: Where the random input comes from.

    Shapes:
        - input of ``conv``: ``[3, J, in_channels]``, then ``[3 * J, in_channels]``
        - output of ``conv``: ``[3, J, C]``, then ``[3 * J, C]``

    Raises:
        AssertionError: If the outputs differ, or the samples do not differ from each other.

    Example:
        >>> from torch_geometric.nn import GCNConv
        >>> from torch_geometric.utils import to_dense_adj
        >>> from handgraph import HAND
        >>> from handgraph.nn import AdaptiveGraphConv
        >>> from handgraph.testing import assert_layouts_agree
        >>> assert_layouts_agree(GCNConv(2, 4), HAND, in_channels=2)
        >>> conv = AdaptiveGraphConv(2, 4)
        >>> assert_layouts_agree(lambda x, e: conv(x, to_dense_adj(e)[0]), HAND, in_channels=2)
    """
    x = torch.randn(3, skeleton.num_joints, in_channels, generator=generator)
    static = conv(x, skeleton.edge_index)
    if bool((static == static[:1]).all()):
        raise AssertionError("the output is the same for all samples, so the check says nothing")
    batch = from_dense(x, skeleton)
    disjoint = conv(batch["x"], batch["edge_index"])
    wrong = f"static and disjoint graphs of {skeleton.name} give different outputs"
    assert_close(disjoint, static.flatten(0, 1), msg=lambda text: f"{wrong}\n{text}")


def assert_compiles(
    module: Callable[..., Any], *inputs: Tensor, backend: str = "aot_eager"
) -> None:
    """Assert that ``torch.compile(fullgraph=True)`` changes neither values nor gradients.

    The gradients are those of a random weighting of all outputs that have one (masks have none),
    with respect to the inputs and, if ``module`` is a module, its parameters. What torch has
    compiled so far is forgotten, before and after.

    Args:
        module: What to check: a module, or a function of tensors.
        inputs: What to call it with. Gradients are taken of the floating-point ones.
        backend: Backend of ``torch.compile``. ``"aot_eager"`` traces forward and backward as
            ``"inductor"`` does, but needs no compiler and is quicker.

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
