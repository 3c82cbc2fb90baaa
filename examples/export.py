"""Take nets out of Python: torch.export, ONNX and AOTInductor, and how far the files are off.

Writes the paper's core (split, branches, merge), the same folded, and the lifter that comes with
the package, for batches of any size. Each file is loaded again and compared with the net. The core
has random parameters here: put your own in its place. AOTInductor needs a C++ compiler and a minute
a net, so it takes the core only.
"""

from __future__ import annotations

import argparse
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from handgraph import HAND, RemovalSets
from handgraph.hub import pretrained_lifter
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, SubgraphMask, fold

BATCHES = (1, 3, 8)
"""Sizes that are compared; the nets are exported with another one."""

Run = Callable[..., Tensor]


def core() -> nn.Module:
    """Build PSJNet's core, from (u, v) to (u, v, d)."""
    removal = RemovalSets.by_level(HAND)
    branches, merge = AdaptiveGraphUNet(2, 3, removal), GraphMerger(3, 3, removal)
    return nn.Sequential(SubgraphMask(removal), branches, merge).eval()


def export(net: nn.Module, inputs: tuple[Tensor, ...]) -> ExportedProgram:
    """Trace a net for any number of samples."""
    dynamic = tuple({0: Dim.DYNAMIC} for _ in inputs)  # before torch 2.13, a named one is refused
    return torch.export.export(net, inputs, dynamic_shapes=dynamic)


def write_pt2(program: ExportedProgram, path: Path) -> Run:
    """Save the program as it is, for Python with torch and without handgraph."""
    torch.export.save(program, path)
    return torch.export.load(path).module()


def write_onnx(program: ExportedProgram, path: Path) -> Run:
    """Convert the program for onnxruntime, and everything else that reads ONNX."""
    torch.onnx.export(program, dynamo=True, verbose=False).save(path)  # type: ignore[union-attr]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor:
        feed = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, feed)[0])

    return run


def write_aoti(program: ExportedProgram, path: Path) -> Run:
    """Compile the program to machine code for this processor, for Python and C++."""
    torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    return torch._inductor.aoti_load_package(str(path))


def largest_difference(run: Run, net: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """How far file and net are apart, over all batch sizes."""
    draws = [tuple(torch.rand(batch, *x.shape[1:]) for x in inputs) for batch in BATCHES]
    return max((run(*draw) - net(*draw)).abs().max().item() for draw in draws)


WRITE = {"pt2": write_pt2, "onnx": write_onnx, "aoti.pt2": write_aoti}
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--formats", nargs="+", choices=list(WRITE), default=list(WRITE))
parser.add_argument("--out", type=Path, default=Path("runs/export"))
args = parser.parse_args()
if "aoti.pt2" in args.formats and shutil.which("g++") is None:
    print("aoti.pt2 is left out: AOTInductor needs a C++ compiler (g++), and there is none")
    args.formats.remove("aoti.pt2")
args.out.mkdir(parents=True, exist_ok=True)
warnings.simplefilter("ignore")  # the exporters warn of what they will change
torch.manual_seed(0)
uv, score, net = torch.rand(2, 21, 2), torch.rand(2, 21), core()
nets = {"core": (net, (uv,)), "folded": (fold(net), (uv,))}
nets["lifter"] = (pretrained_lifter(), (uv, score))
print(f"{'file':20s}{'kB':>8s}   largest difference at batch sizes {BATCHES}")
with torch.no_grad():
    for name, (net, inputs) in nets.items():
        program = export(net, inputs)
        for kind in [k for k in args.formats if k != "aoti.pt2" or name == "core"]:
            path = args.out / f"{name}.{kind}"
            difference = largest_difference(WRITE[kind](program, path), net, inputs)
            print(f"{path.name:20s}{path.stat().st_size / 1024:8.0f}   {difference:.1e}")
