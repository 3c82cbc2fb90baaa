"""Run the steps of a method, each from where the one before stands."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from lightning.fabric import Fabric

from pipeline.cache import FOUND, LABELS, cache_folder, fill, open_cache
from pipeline.hands import batches, jittered, load
from pipeline.loop import Loop, Row
from pipeline.measure import score
from pipeline.methods import METHODS, build, count, steps_of
from pipeline.order import Batches, Order
from pipeline.settings import Settings
from pipeline.step import Step, StepModule, trains_generator
from pipeline.store import load_weights, step_path, write_text
from pipeline.targets import Hands
from pipeline.trained import Position, Trained, save


@dataclass
class Options:
    """What the weights do not depend on; the cache apart, which rounds features.

    Args:
        cache: Folder for what the frozen generator finds; ``None`` for none.
        cache_limit: Most that it may take, in GB.
        workers: Processes that read RHD.
        checkpoint_every: Iterations between checkpoints.
        validate: Held-out hands to score after each step; 0 for none.
    """

    cache: Path | None = None
    cache_limit: float = 20.0
    workers: int = 0
    checkpoint_every: int = 200
    validate: int = 500


class Run:
    """One model on its way through the steps.

    Args:
        fabric: Where it is trained.
        settings: What its weights depend on.
        out: Its folder.
        options: What they do not depend on.
    """

    def __init__(self, fabric: Fabric, settings: Settings, out: Path, options: Options):
        self.fabric, self.settings, self.out, self.options = fabric, settings, out, options
        self.model = build(settings).to(fabric.device)
        self.steps = steps_of(self.model, settings)
        self.hands = load(settings, "training")

    def run(self, numbers: list[int]) -> None:
        """Train the steps that have not been trained yet."""
        for number in numbers:
            if not step_path(self.out, number).exists():
                self.train(number)

    def train(self, number: int) -> None:
        """Train one step, and write weights, log and scores."""
        self.load_before(number)
        settings, fabric = self.settings, self.fabric
        length = settings.length(number, tuple(self.steps), len(self.hands))
        module = StepModule(self.model, self.steps[number])
        trained = Trained(fabric, module, settings.rates[number - 1], length)
        position = trained.restore(self.out / "resume.pt", number)
        todo = Batches(self.order(number), position.iteration, length)
        loop = Loop(
            trained,
            todo.order,
            length,
            settings.image_size,
            self.out / "resume.pt",
            self.options.checkpoint_every,
        )
        loop.run(self.batches(module.step, todo), position)
        self.finish(number, module, position)

    def order(self, number: int) -> Order:
        """The order of the hands in a step, and this process's share of them."""
        settings, fabric = self.settings, self.fabric
        size, seed = settings.batch_size, settings.seed
        order = Order(len(self.hands), size, seed, number, fabric.global_rank, fabric.world_size)
        order.check()
        return order

    def load_before(self, number: int) -> None:
        """Take the weights of the step before, if there is one."""
        before = [step for step in self.steps if step < number]
        if not before:
            return
        path = step_path(self.out, before[-1])
        if not path.exists():
            raise FileNotFoundError(f"step {number} goes on from step {before[-1]}: no {path}")
        self.model.load_state_dict(load_weights(path)["model"])

    def batches(self, step: Step, todo: Batches) -> Iterator[Hands]:
        """Give the batches of a step, whose colours are jittered if the generator is trained."""
        frozen = not trains_generator(self.model, step)
        if self.options.cache is None:
            source = batches(self.hands, todo, self.fabric.device, self.options.workers)
        else:
            source = self.cached(todo, self.options.cache, frozen=frozen)
        if frozen:
            return source
        amount, order = self.settings.jitter, todo.order
        return (
            jittered(hands, order.jitter(iteration, amount))
            for iteration, hands in enumerate(source, todo.first)
        )

    def cached(self, todo: Batches, root: Path, *, frozen: bool) -> Iterator[Hands]:
        """Hands, with images or what the frozen generator found: the first process makes them."""
        device, options = self.fabric.device, self.options
        reads = METHODS[self.settings.method].reads
        found = ("uv", *reads) if frozen else ("image", *(r for r in reads if r not in FOUND))
        names = (*LABELS, *found)
        folder = cache_folder(root, self.settings, self.model.generator if frozen else None)
        if self.fabric.is_global_zero:
            source = (self.hands, names, device, options.workers, options.cache_limit)
            fill(folder, self.model, *source)
        self.fabric.barrier()
        return open_cache(folder, names).batches(todo, device)

    def finish(self, number: int, module: StepModule, position: Position) -> None:
        """Score the model, then write what the step gave; its checkpoint is of no more use."""
        report = json.dumps(self.report(number, module, position), indent=1)
        if self.fabric.is_global_zero:
            write_text(self.out / f"step{number}.json", report + "\n")
            write_text(self.out / f"log{number}.csv", table(position.rows))
            print(report)
        content = {"step": number, "model": self.model.state_dict()}
        save(self.fabric, step_path(self.out, number), content)
        if self.fabric.is_global_zero:
            (self.out / "resume.pt").unlink(missing_ok=True)

    def report(self, number: int, module: StepModule, position: Position) -> dict[str, Any]:
        """What the step took, and how good it is."""
        images, model = position.iteration * self.settings.batch_size, self.model
        return {
            "step": number,
            "iterations": position.iteration,
            "seconds": round(position.seconds, 2),
            "images_per_second": round(images / max(position.seconds, 1e-9), 2),
            "generator_parameters": count(model.generator),
            "lifter_parameters": count(model.lifter),
            "held_out": self.validate(module),
            "machine": machine(self.fabric),
        }

    def validate(self, module: StepModule) -> dict[str, float]:
        """Score held-out hands, shared among the processes."""
        if not self.options.validate:
            return {}
        fabric, size = self.fabric, self.settings.batch_size
        hands = load(self.settings, "validation", self.options.validate)
        mine = list(range(len(hands)))[fabric.global_rank :: fabric.world_size]
        index = [mine[i : i + size] for i in range(0, len(mine), size)]
        source = batches(hands, index, fabric.device, self.options.workers)
        return score(module, source, self.settings.image_size)


def table(rows: list[list[float]]) -> str:
    """Write the log as CSV."""
    lines = [",".join(Row._fields), *(",".join(f"{v:.6g}" for v in row) for row in rows)]
    return "\n".join(lines) + "\n"


def machine(fabric: Fabric) -> dict[str, Any]:
    """Where it was trained, and with what."""
    device = fabric.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": name,
        "processes": fabric.world_size,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }
