"""The training of one net: its inputs in each epoch, and its stages."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from handgraph import HAND
from handgraph.losses import pose_loss
from handgraph.transforms import sample_region, simulate_occlusion
from occlusion.masked import DROPOUT, MaskedLifter
from occlusion.methods import Hide, Method
from occlusion.settings import DETECTORS, Job
from shared.lifters import Hands, PSJNetCore, inputs, psjnet_losses, to_pixels
from shared.training import batches, minimize

Epochs = Callable[[torch.Generator], tuple[Tensor, Tensor]]
"""Returns the inputs ``[n, J, C]`` and the visibility ``[n, J]`` of an epoch."""


def assemble(hands: Hands, names: tuple[str, ...], *, clean: bool) -> Tensor:
    """Concatenate the inputs, without occlusion if ``clean``. ``[n, J, C]``."""
    taken = {name: hands[f"{name}_clean" if clean else name] for name in names}
    return inputs(taken, *names[1:])


def epochs(
    method: Method, hands: Hands, names: tuple[str, ...], detector: str, *, clean: bool
) -> Epochs:
    """Return the training inputs; a method may occlude other joints of clean images each epoch."""
    if not (clean and method.simulate):
        x = assemble(hands, names, clean=clean)
        return lambda rng: (x, hands["visible"])
    names = ("uv", "cue", "confidence")
    detections = [hands[f"{name}_clean"] for name in names]
    simulate = crudely
    if method.simulate == "detector":
        simulate = partial(simulate_occlusion, detector=DETECTORS[detector])

    def source(rng: torch.Generator) -> tuple[Tensor, Tensor]:
        hidden = sample_region(detections[0], generator=rng)
        seen = simulate(*detections, hidden, generator=rng)[:3]
        return inputs(dict(zip(names, seen, strict=True)), *names[1:]), ~hidden

    return source


def crudely(
    uv: Tensor, cue: Tensor, score: Tensor, hidden: Tensor, generator: torch.Generator
) -> list[Tensor]:
    """Add noise to hidden joints and give them random scores, unlike the test's detector."""
    any_score = torch.rand(score.shape, generator=generator)
    off, cue_off = (torch.randn(values.shape, generator=generator) for values in (uv, cue))
    pairs = ((uv, uv + 15.0 * off), (cue, cue + 1.5 * cue_off), (score, any_score))
    return [torch.where(hidden.unsqueeze(-1), new, old) for old, new in pairs]


def hide(x: Tensor, visible: Tensor, how: Hide, generator: torch.Generator | None = None) -> Tensor:
    """Zero joints and add a channel with the visible ones; ``"nothing"`` does neither."""
    if how == "nothing":
        return x
    if how == "at random":
        visible = torch.rand(visible.shape, generator=generator) >= DROPOUT
        visible[:, HAND.index("wrist")] = True
    return torch.cat([x.where(visible.unsqueeze(-1), 0), visible.unsqueeze(-1).to(x)], dim=-1)


class Stage(NamedTuple):
    """A stage of training.

    The loss is a function of inputs ``[B, J, C]``, target (u, v, d) ``[B, J, 3]``, visibility
    ``[B, J]`` and random generator. The learning rate has a cycle in each stage.
    """

    share: float  # of the epochs
    groups: list[list[nn.Parameter]]
    loss: Callable[[Tensor, Tensor, Tensor, torch.Generator], Tensor]


def stages(net: nn.Module) -> list[Stage]:
    """Return the stages of a net."""
    if isinstance(net, PSJNetCore):
        return psjnet_stages(net)
    if isinstance(net, MaskedLifter):  # lifter and visibility are clipped separately
        return [Stage(1.0, [list(part.parameters()) for part in net.children()], net.loss)]

    def loss(x: Tensor, target: Tensor, *_: object) -> Tensor:
        return pose_loss(to_pixels(net(x)), target)

    return [Stage(1.0, [list(net.parameters())], loss)]


def psjnet_stages(net: PSJNetCore) -> list[Stage]:
    """Return steps 2 to 4 of the paper (2.2), without step 3 if the merger has no parameters."""
    branch, merger = list(net.branches.parameters()), list(net.merge.parameters())
    trained, shares = (branch, merger, [*branch, *merger]), (0.4, 0.2, 0.4)
    return [
        Stage(share, [some], lambda x, target, *_, loss=loss: loss(x, target)[0])
        for share, some, loss in zip(shares, trained, psjnet_losses(net), strict=True)
        if some
    ]


def fit(net: nn.Module, source: Epochs, target: Tensor, how: Hide, job: Job) -> None:
    """Train a net through its stages; ``target [n, J, 3]`` is (u, v, d), with u and v in pixels.

    The seed of the job determines the order of the samples and all random draws.
    """
    recipe, rng = job.recipe(), torch.Generator().manual_seed(job.seed)
    size = min(recipe.batch_size, len(target))

    def losses(stage: Stage, epochs: int) -> Iterator[Tensor]:
        for _ in range(epochs):
            x, visible = source(rng)
            for some in batches(len(target), size, 1, rng):
                if len(some) == size:  # skips an incomplete batch at the end
                    seen = hide(x[some], visible[some], how, rng)
                    yield stage.loss(seen, target[some], visible[some], rng)

    for stage in stages(net):
        epochs = max(1, round(stage.share * job.epochs))
        steps = epochs * (len(target) // size)
        minimize(losses(stage, epochs), *recipe.start(stage.groups, steps))
