"""Run the steps of a method, each from the weights of the previous one."""

import argparse
import json
import platform
from collections.abc import Iterator
from typing import Any

import numpy as np
import timm
import torch
from lightning.fabric import Fabric

from pipeline.cache import FOUND, LABELS, cache_folder, fill, read_cache
from pipeline.hands import Order, batches, chunks, jittered, load
from pipeline.loop import ROW, Training
from pipeline.methods import METHODS, build
from pipeline.objectives import StepModule
from pipeline.scores import score
from pipeline.settings import Settings
from pipeline.store import load_weights, save, step_path
from shared.files import write_text
from shared.lifters import Hands, count


class Run:
    """The training of one model through its steps, in one folder.

    ``args`` are the arguments of ``train.py``.
    """

    def __init__(self, fabric: Fabric, settings: Settings, args: argparse.Namespace):
        self.fabric, self.settings, self.out, self.args = fabric, settings, args.out, args
        self.method = METHODS[settings.method]
        self.model = build(settings).to(fabric.device)
        self.steps = self.method.steps(self.model, settings.image_size)
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
        source = self.batches(order, range(training.iteration, length))
        training.run(source, checkpoint, self.args.checkpoint_every)
        self.finish(training, module)
        if self.fabric.is_global_zero:
            checkpoint.unlink(missing_ok=True)

    def order(self, number: int) -> Order:
        """Return the order of the hands in a step, and this process's share of them."""
        size, seed, fabric = self.settings.batch_size, self.settings.seed, self.fabric
        return Order(len(self.hands), size, seed, number, fabric.global_rank, fabric.world_size)

    def load_before(self, number: int) -> None:
        """Load the weights of the previous step, if there is one."""
        before = max((step for step in self.steps if step < number), default=None)
        if before is None:
            return
        path = step_path(self.out, before)
        if not path.exists():
            raise FileNotFoundError(f"step {number} needs step {before} first: no {path}")
        self.model.load_state_dict(load_weights(path)["model"])

    def batches(self, order: Order, iterations: range) -> Iterator[Hands]:
        """Return the batches of the iterations, with colour jitter if the generator is trained."""
        index = [order.batch(iteration) for iteration in iterations]
        trained = self.model.generator in self.steps[order.step].parts
        if self.args.cache is None:
            hands = self.read(index)
        else:
            hands = self.cached(index, frozen=not trained)
        drawn = (order.jitter(iteration, self.settings.jitter) for iteration in iterations)
        return map(jittered, hands, drawn) if trained else hands

    def read(self, index: list[list[int]]) -> Iterator[Hands]:
        """Return batches of the hands."""
        return batches(self.hands, index, self.fabric.device, self.args.workers)

    def cached(self, index: list[list[int]], *, frozen: bool) -> Iterator[Hands]:
        """Return cached hands with images or generator outputs; the first process writes them."""
        settings, args, reads = self.settings, self.args, self.method.reads
        found = ("uv", *reads) if frozen else ("image", *(r for r in reads if r not in FOUND))
        names = (*LABELS, *found)
        folder = cache_folder(args.cache, settings, self.model.generator if frozen else None)
        if self.fabric.is_global_zero:
            fill(folder, self.model, self.read, len(self.hands), names, args.cache_limit)
        self.fabric.barrier()
        return read_cache(folder, names, index, self.fabric.device)

    def finish(self, training: Training, module: StepModule) -> None:
        """Score the model, and write the results of the step."""
        number, report = training.order.step, json.dumps(self.report(training, module), indent=1)
        if self.fabric.is_global_zero:
            write_text(self.out / f"step{number}.json", report + "\n")
            log, head = self.out / f"log{number}.csv", ",".join(ROW)
            np.savetxt(log, training.rows, "%.6g", ",", header=head, comments="")
            print(report)
        content = {"step": number, "model": self.model.state_dict()}
        save(self.fabric, step_path(self.out, number), content)

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
        if not self.args.validate:
            return {}
        fabric, settings = self.fabric, self.settings
        hands = load(settings, "validation", self.args.validate)
        mine = range(len(hands))[fabric.global_rank :: fabric.world_size]
        index = chunks(mine, settings.batch_size)
        source = batches(hands, index, fabric.device, self.args.workers)
        return score(module, source, settings.image_size)
