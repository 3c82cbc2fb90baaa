"""Folded modules: fused plans with their tensors as buffers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn

from handgraph._check import check_last
from handgraph.nn import engines
from handgraph.nn.branched import BranchedNet
from handgraph.nn.engines.choice import expect, prepare, run_forms
from handgraph.nn.engines.forms import Form, SavedPlan
from handgraph.nn.engines.reference.form import ReferenceForm
from handgraph.nn.fuse import fuse
from handgraph.nn.gates import finest, gate_plan
from handgraph.nn.mixing import samples_first, samples_last
from handgraph.nn.plan import NodeMap, Plan, Select, Shape, tensors
from handgraph.nn.unet import AdaptiveGraphUNet


class Folded(nn.Module):
    """A module without parameters that runs a fused plan.

    Returned by :func:`handgraph.nn.fold`. Its buffers are the fused maps, which can be saved and
    moved. Gradients reach its input.

    Args:
        plan: The plan.
        branched: Whether input and output have a branch axis.

    Shapes:
        - input: ``[*, J, C]``, or ``[*, N, K, C]`` with a branch axis
        - output: ``[*, J', C']``, or ``[*, N', K', C']``

    Raises:
        ValueError: If the input does not have the branches, nodes and channels of the plan.
    """

    def __init__(self, plan: Plan, branched: tuple[bool, bool]):
        super().__init__()
        plan = fuse(plan)
        self.branched = branched
        nodes, channels = input_size(plan)
        branches = len(tensors(plan)[0]) if branched[0] else 1
        self.size = (branches, nodes or "J", channels or "C")
        given = None
        if nodes is not None and channels is not None:
            given = Shape(branches, nodes, channels)
        self.forms = prepare(plan, given)
        self.register_load_state_dict_post_hook(_update_forms)  # type: ignore[no-untyped-call]

    def plan(self) -> Plan:
        """Return the plan, with the buffers as its tensors."""
        return cast("ReferenceForm", self.forms["reference"]).saved.plan()

    def forward(self, x: Tensor) -> Tensor:
        """Run the plan."""
        dims = 3 if self.branched[0] else 2
        check_last(x, "folded net", *self.size[-dims:])
        nodes = samples_last(x, dims)
        expect(self)
        out = run_forms(self.forms, nodes if dims == 3 else nodes.unsqueeze(0))
        return samples_first(out if self.branched[1] else out.squeeze(0), x.shape[:-dims])

    def __repr__(self) -> str:
        """Return the number of stages and the size of the input."""
        sizes = ", ".join(map(str, self.size))
        return f"Folded([*, {sizes}], stages={len(self.plan())})"


def _update_forms(folded: Folded, _: object) -> None:
    """Update the forms of all engines after a state dict is loaded."""
    for form in cast("Iterable[Form]", folded.forms.values()):
        form.update(folded.plan())


class FoldedUNet(BranchedNet):
    """A folded :class:`AdaptiveGraphUNet` with the same arguments and errors.

    Args:
        net: The net. It is not modified.
    """

    def __init__(self, net: AdaptiveGraphUNet):
        super().__init__(net.in_channels, net.out_channels, net.graph)
        self.nodes, self.gating = net.nodes, net.gating
        plan = net.lower()
        self.level = SavedPlan(finest(plan))
        self.folded = Folded(plan, (True, True))

    def reset_parameters(self) -> None:
        """Raise a ``TypeError``, as a folded net has no parameters."""
        raise TypeError("a folded AdaptiveGraphUNet has no parameters to reset")

    def adjacencies(self) -> list[Tensor]:
        """Return the normalised adjacencies, finest level first."""
        last = self.folded.plan()[1 - len(self.nodes) :]
        maps = [cast("NodeMap", stage.terms[0].node_map).matrix for stage in reversed(last)]
        return maps if self.branched[0] else [matrix.squeeze(0) for matrix in maps]

    def forward(self, x: Tensor, node_mask: Tensor | None = None) -> Tensor:
        """Run the folded net; see :meth:`AdaptiveGraphUNet.forward`."""
        x, gate, visible = self.enter(x, node_mask)
        if gate is None:
            return self.leave(self.folded(x), visible)
        expect(self)
        gate = samples_last(gate, 2)
        inner, level = self.folded.plan()[1:-1], self.level.plan()
        return self.leave(engines.run(gate_plan(inner, level, gate, self.gating), x), visible)


def input_size(plan: Plan, source: int = 0) -> tuple[int | None, int | None]:
    """Return the nodes and channels that a source must have; ``None`` for any number."""
    for number, stage in enumerate(plan, start=1):
        for term in (term for term in stage.terms if term.source == source):
            nodes, channels = input_size(plan, number)
            if (one := term.node_map) is not None:
                nodes = one.nodes if isinstance(one, Select) else one[0].shape[2]
            return nodes, channels if term.weight is None else term.weight.shape[2]
    return None, None
