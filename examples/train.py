"""Train PSJNet or a baseline on images, in the paper's four steps.

``python examples/train.py --out runs/psjnet`` trains on rendered hands;
``--data rhd --root RHD_published_v2`` on RHD. If a run is interrupted, the same command with
``--resume`` continues it. ``--generator runs/psjnet`` takes step 1 from another run.
"""

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path

from lightning.fabric import Fabric

from pipeline.methods import METHODS
from pipeline.run import Run
from pipeline.settings import CHOICES, STEPS, Settings, differences
from pipeline.store import check_generator, finished, load_settings, take_generator
from shared.files import lock, write_text


def main() -> None:
    """Read the command line, open the run folder, train."""
    args = parse()
    settings = Settings(**{field.name: getattr(args, field.name) for field in fields(Settings)})
    check_folder(args, settings)
    how = {"strategy": "ddp" if args.devices > 1 else "auto", "precision": args.precision}
    fabric = Fabric(accelerator=args.device, devices=args.devices, **how)
    fabric.launch()
    with lock(args.out) if fabric.is_global_zero else nullcontext():
        train(args, settings, fabric)


def train(args: argparse.Namespace, settings: Settings, fabric: Fabric) -> None:
    """Train the requested steps; no other process may write to the run folder."""
    if fabric.is_global_zero:
        write_text(args.out / "run.json", settings.to_json())
        if args.generator is not None:
            take_generator(args.generator, args.out, settings)
    fabric.barrier()
    run = Run(fabric, settings, args)
    steps = [step for step in run.steps if step in args.steps]
    if not steps:
        raise ValueError(f"--steps: {settings.method} has {[*run.steps]}, got {[*args.steps]}")
    run.run(steps)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    own, four = Settings(), {"nargs": 4, "metavar": ("S1", "S2", "S3", "S4")}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    weights = parser.add_argument_group("settings that determine the weights")
    weights.add_argument("--method", choices=METHODS, default=own.method)
    weights.add_argument("--data", choices=CHOICES["data"], default=own.data)
    weights.add_argument("--root", default="", help="folder of RHD")
    weights.add_argument("--samples", type=int, help="training hands; for RHD all by default")
    weights.add_argument("--image-size", type=int, default=own.image_size)
    weights.add_argument("--backbone", default=own.backbone, help="name of a timm network")
    weights.add_argument("--weights", default="", help="HRNet checkpoint that step 1 starts from")
    weights.add_argument("--precision", choices=CHOICES["precision"], default=own.precision)
    weights.add_argument("--channels", type=int, default=own.channels, help="of the graph U-Nets")
    weights.add_argument("--encoder-channels", type=int, help="256, or 32 for light backbones")
    weights.add_argument("--batch-size", type=int, default=own.batch_size, help="of all processes")
    weights.add_argument("--seed", type=int, default=own.seed)
    weights.add_argument("--epochs", type=int, default=own.epochs, **four)
    weights.add_argument("--iterations", type=int, default=(), **four, help="instead of epochs")
    weights.add_argument("--rates", type=float, default=own.rates, **four)
    weights.add_argument("--jitter", type=float, default=own.jitter, help="of colours")
    run = parser.add_argument_group("other options")
    run.add_argument("--out", type=Path, required=True, help="folder of the run")
    run.add_argument("--steps", type=int, nargs="+", choices=STEPS, default=STEPS)
    run.add_argument("--generator", type=Path, help="folder of a run whose generator is used")
    run.add_argument("--resume", action="store_true", help="continue the run in --out")
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    run.add_argument("--devices", type=int, default=1, help="processes")
    run.add_argument("--cache", type=Path, help="folder for images and generator outputs")
    run.add_argument("--cache-limit", type=float, default=20.0, help="GB")
    run.add_argument("--workers", type=int, default=0, help="processes that read RHD")
    run.add_argument("--checkpoint-every", type=int, default=200, help="iterations")
    run.add_argument("--validate", type=int, default=500, help="held-out hands; 0 for none")
    args = parser.parse_args(argv)
    if args.samples is None:
        args.samples = 0 if args.data == "rhd" else own.samples
    if args.encoder_channels is None:
        hrnet = args.backbone.startswith("hrnet")
        args.encoder_channels = own.encoder_channels if hrnet else 32
    return args


def check_folder(args: argparse.Namespace, settings: Settings) -> None:
    """Raise if the folder has a run with other settings, or a run to resume without ``--resume``.

    A folder without weights and checkpoint, as after a wrong argument, is like an empty one.
    """
    out = args.out
    done, under_way = finished(out), (out / "resume.pt").exists()
    if not args.resume and (under_way or set(done) & set(args.steps)):
        raise FileExistsError(f"{out} already holds these steps: continue with --resume")
    changed = differences(load_settings(out), settings) if done or under_way else []
    if changed:
        raise ValueError(f"{out} holds a run with other settings: {'; '.join(changed)}")
    if args.generator is not None:
        check_generator(args.generator, settings)


if __name__ == "__main__":
    main()
