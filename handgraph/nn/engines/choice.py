"""Choose the engine that runs a plan, and record the choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from handgraph.nn.engines import cpu, cuda, reference
from handgraph.nn.engines.conditions import changed, needs_forward
from handgraph.nn.engines.forms import Form, NoForm
from handgraph.nn.mixing import samples_first, samples_last
from handgraph.nn.plan import Plan, Shape

ENGINES = {"triton": cuda, "numba": cpu, "reference": reference}
CHOICES = {
    "auto": ("numba", "reference"),  # the Triton engine is not tested on a GPU
    "triton": ("triton", "reference"),
    "numba": ("numba", "reference"),
    "reference": ("reference",),
    "readable": (),
}
"""The engines to try for each choice, in order."""


PENDING = "pending"


class Choice(NamedTuple):
    """The engine that ran a part of a net, and the reasons of the engines that refused it.

    Args:
        name: The path of the part in the net, empty for the net itself.
        engine: ``"triton"``, ``"numba"`` or ``"reference"``; ``"readable"`` for its ``forward``.
        refused: The reason of each engine that refused the plan.

    Example:
        >>> from handgraph.nn.engines import Choice
        >>> Choice("0.unet", "reference", {"numba": "numba is not installed"}).engine
        'reference'
    """

    name: str
    engine: str
    refused: dict[str, str]


class _Record(NamedTuple):
    module: nn.Module | None
    engine: str
    refused: dict[str, str]


_allowed: ContextVar[tuple[str, ...]] = ContextVar("engines", default=CHOICES["auto"])
_records: ContextVar[list[_Record] | None] = ContextVar("records", default=None)


@contextmanager
def use(engine: str) -> Iterator[None]:
    """Choose the engine within a ``with`` block, in this thread.

    If the engine refuses a plan, the reference runs it; :func:`explain` returns the reason.

    Args:
        engine: ``"auto"``, ``"numba"`` on the CPU, ``"triton"`` on CUDA, ``"reference"`` for
            PyTorch operations on plans, or ``"readable"`` for the ``forward`` of each module.

    Raises:
        ValueError: If the engine is unknown.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.nn import AdaptiveGraphUNet, engines
        >>> net, x = AdaptiveGraphUNet(2, 3, HAND), torch.rand(8, 21, 2)
        >>> with engines.use("readable"):
        ...     pose = net(x)
        >>> torch.allclose(pose, net(x), atol=1e-5)
        True
    """
    if engine not in CHOICES:
        raise ValueError(f"engines.use: expected one of {', '.join(CHOICES)}, got {engine!r}")
    before = _allowed.set(CHOICES[engine])
    try:
        yield
    finally:
        _allowed.reset(before)


def may_run(module: nn.Module, x: Tensor) -> bool:
    """Return whether an engine may run the plan of a module instead of its ``forward``.

    It may if no child has hooks, is replaced or is parametrised, nothing is exported or
    transformed, and the class of the module itself defines ``forward`` and ``lower``. The class
    attribute ``reads`` lists the classes of children that ``lower`` reads.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.nn import AdaptiveGraphUNet, engines
        >>> engines.may_run(AdaptiveGraphUNet(2, 3, HAND), torch.rand(8, 21, 2))
        True
    """
    if torch.compiler.is_compiling():
        return not torch.compiler.is_exporting() and changed(module) is None
    why = needs_forward(module, x) if _allowed.get() else "engines.use('readable')"
    if why is None:
        expect(module)
    else:
        _record("readable", {"all": why}, module)
    return why is None


def expect(module: nn.Module) -> None:
    """Record that the next plan to run is that of a module."""
    if torch.compiler.is_compiling():
        return
    records = _records.get()
    if records is not None:
        records.append(_Record(module, PENDING, {}))


def run(plan: Plan, x: Tensor) -> Tensor:
    """Run a plan with the first engine that accepts it.

    Args:
        plan: The plan.
        x: Its input.

    Shapes:
        - x: ``[*, N, J, C]``
        - output: ``[*, N', J', C']``

    Raises:
        ValueError: If the shapes do not fit.
        TypeError: If dtypes differ.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.nn import AdaptiveGraphUNet, engines
        >>> net = AdaptiveGraphUNet(2, 3, HAND)
        >>> engines.run(net.lower(), torch.rand(8, 1, 21, 2)).shape
        torch.Size([8, 1, 21, 3])
    """
    nodes = samples_last(x, 3)
    if torch.compiler.is_compiling():
        out = reference.run(plan, nodes)
    else:
        out = _first(lambda name: ENGINES[name].offer(plan, nodes))
    return samples_first(out, x.shape[:-3])


def _first(offer: Callable[[str], str | Callable[[], Tensor]]) -> Tensor:
    """Run the offer of the first engine that does not refuse, and record the engine."""
    refused: dict[str, str] = {}
    for name in _allowed.get() or ("reference",):
        found = offer(name)
        if not isinstance(found, str):
            _record(name, refused)
            return found()
        refused[name] = found
    raise RuntimeError(f"no engine accepts the plan: {refused}")


def _record(engine: str, refused: dict[str, str], module: nn.Module | None = None) -> None:
    """Record an engine; without ``module``, for the expected module if there is one."""
    records = _records.get()
    if records is None:
        return
    if records and records[-1].engine == PENDING:
        module = records.pop().module
    records.append(_Record(module, engine, refused))


def prepare(plan: Plan, given: Shape | None) -> nn.ModuleDict:
    """Convert a fused plan to the form of each engine."""
    forms = {name: engine.prepare(plan, given) for name, engine in ENGINES.items()}
    return nn.ModuleDict(
        {name: NoForm(form) if isinstance(form, str) else form for name, form in forms.items()}
    )


def run_forms(forms: nn.ModuleDict, x: Tensor) -> Tensor:
    """Run a plan on ``[N, J, C, B]`` with the first engine that accepts it."""
    if torch.compiler.is_compiling():
        return cast("Form", forms["reference"]).run(x)
    return _first(partial(_offer_form, forms, x))


def _offer_form(forms: nn.ModuleDict, x: Tensor, name: str) -> str | Callable[[], Tensor]:
    form = cast("Form", forms._modules[name])
    return form.refuses(x) or partial(form.run, x)


def explain(module: nn.Module, *args: Any, **kwargs: Any) -> list[Choice]:
    """Call a module, and return the engine of each part that has a plan, in order.

    Args:
        module: Any module with such parts.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Example:
        >>> import torch
        >>> from handgraph import HAND
        >>> from handgraph.nn import AdaptiveGraphUNet, engines
        >>> net = AdaptiveGraphUNet(2, 3, HAND)
        >>> _ = net.squeeze.register_forward_hook(lambda *_: None)
        >>> engines.explain(net, torch.rand(8, 21, 2))
        [Choice(name='', engine='readable', refused={'all': 'squeeze has hooks'})]
    """
    records: list[_Record] = []
    before = _records.set(records)
    try:
        module(*args, **kwargs)
    finally:
        _records.reset(before)
    names: dict[nn.Module | None, str] = {part: name for name, part in module.named_modules()}
    return [Choice(names.get(part, "?"), engine, why) for part, engine, why in records]
