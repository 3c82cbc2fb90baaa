"""Run the steps of a method, each from the weights of the previous one."""

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

from pipeline.cache import FOUND, LABELS, cache_folder, cached, fill
from pipeline.hands import batches, chunks, jittered, load
from pipeline.loop import ROW, Training
from pipeline.methods import METHODS, build, steps_of
from pipeline.objectives import StepModule, trains_generator
from pipeline.order import Order
from pipeline.scores import score
from pipeline.settings import Settings
from pipeline.store import load_weights, save, step_path
from shared.files import write_text
from shared.lifters import Hands, count


@dataclass
class Options:
    """Options that do not affect the weights, except for the cache, which rounds features."""

    cache: Path | None = None  # folder for the frozen generator's output
    cache_limit: float = 20.0  # maximum size in GB
    workers: int = 0  # processes that read RHD
    checkpoint_every: int = 200  # iterations
    validate: int = 500  # held-out hands to score after each step; 0 for none


class Run:
    """The training of one model through its steps, in one folder."""

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
        length = self.settings.length(number, tuple(self.steps), len(self.hands))
        module, order = StepModule(self.model, self.steps[number]), self.order(number)
        training = Training(self.fabric, module, order, length, self.settings)
        checkpoint = self.out / "resume.pt"
        training.restore(checkpoint)
        source = self.batches(order, training.iteration, length)
        training.run(source, checkpoint, self.options.checkpoint_every)
        self.finish(training, module)

    def order(self, number: int) -> Order:
        """Return the order of the hands in a step, and this process's share of them."""
        settings, fabric = self.settings, self.fabric
        size, seed = settings.batch_size, settings.seed
        order = Order(len(self.hands), size, seed, number, fabric.global_rank, fabric.world_size)
        order.check()
        return order

    def load_before(self, number: int) -> None:
        """Load the weights of the previous step, if there is one."""
        before = [step for step in self.steps if step < number]
        if not before:
            return
        path = step_path(self.out, before[-1])
        if not path.exists():
            raise FileNotFoundError(f"step {number} goes on from step {before[-1]}: no {path}")
        self.model.load_state_dict(load_weights(path)["model"])

    def batches(self, order: Order, first: int, last: int) -> Iterator[Hands]:
        """Return the batches of the iterations, with colour jitter if the generator is trained."""
        frozen = not trains_generator(self.model, self.steps[order.step])
        index, options, device = order.batches(first, last), self.options, self.fabric.device
        if options.cache is None:
            source = batches(self.hands, index, device, options.workers)
        else:
            source = self.cached(index, options.cache, frozen=frozen)
        if frozen:
            return source
        drawn = (order.jitter(i, self.settings.jitter) for i in range(first, last))
        return (jittered(*pair) for pair in zip(source, drawn, strict=True))

    def cached(self, index: list[list[int]], root: Path, *, frozen: bool) -> Iterator[Hands]:
        """Return cached hands with images or generator outputs; the first process writes them."""
        device, options = self.fabric.device, self.options
        reads = METHODS[self.settings.method].reads
        found = ("uv", *reads) if frozen else ("image", *(r for r in reads if r not in FOUND))
        names = (*LABELS, *found)
        folder = cache_folder(root, self.settings, self.model.generator if frozen else None)
        if self.fabric.is_global_zero:
            source = (self.hands, names, device, options.workers, options.cache_limit)
            fill(folder, self.model, *source)
        self.fabric.barrier()
        return cached(folder, names, index, device)

    def finish(self, training: Training, module: StepModule) -> None:
        """Score the model, write the results of the step, and delete its checkpoint."""
        number, first = training.order.step, self.fabric.is_global_zero
        report = json.dumps(self.report(training, module), indent=1)
        if first:
            write_text(self.out / f"step{number}.json", report + "\n")
            rows = [",".join(f"{value:.6g}" for value in row) for row in training.rows]
            write_text(self.out / f"log{number}.csv", "\n".join([",".join(ROW), *rows, ""]))
            print(report)
        content = {"step": number, "model": self.model.state_dict()}
        save(self.fabric, step_path(self.out, number), content)
        if first:
            (self.out / "resume.pt").unlink(missing_ok=True)

    def report(self, training: Training, module: StepModule) -> dict[str, Any]:
        """Return time, scores, machine and versions of the step."""
        images, device = training.iteration * self.settings.batch_size, self.fabric.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
        return {
            "step": training.order.step,
            "iterations": training.iteration,
            "seconds": round(training.seconds, 2),
            "images_per_second": round(images / max(training.seconds, 1e-9), 2),
            "generator_parameters": count(self.model.generator),
            "lifter_parameters": count(self.model.lifter),
            "held_out": self.validate(module),
            "machine": {
                "device": name,
                "processes": self.fabric.world_size,
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                "timm": timm.__version__,
            },
        }

    def validate(self, module: StepModule) -> dict[str, float]:
        """Score held-out hands, shared among the processes."""
        if not self.options.validate:
            return {}
        fabric, settings = self.fabric, self.settings
        hands = load(settings, "validation", self.options.validate)
        mine = range(len(hands))[fabric.global_rank :: fabric.world_size]
        index = [[mine[i] for i in some] for some in chunks(len(mine), settings.batch_size)]
        source = batches(hands, index, fabric.device, self.options.workers)
        return score(module, source, settings.image_size)
