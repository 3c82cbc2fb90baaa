"""Export nets with torch.export, ONNX and AOTInductor, and compare the files with the nets.

The nets are the paper's core (split, branches, merge), the folded core, the pretrained lifter, the
heatmap generator and the whole PSJNet, for batches of any size. Each file is loaded again and
compared with the net. ONNX files run in onnxruntime, and in OpenVINO if it is installed. Parameters
except the lifter's are random; ``--run`` takes generator and PSJNet from a run of ``train.py``.
AOTInductor needs a C++ compiler and a minute per net, so it compiles the core only. torch.export
cannot save PSJNet's named tuple, so PSJNet has no ``pt2`` file.
"""

import argparse
import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from handgraph import HAND, RemovalSets
from handgraph.export import load_onnxruntime, load_openvino, to_onnx, trace
from handgraph.hub import pretrained_lifter
from handgraph.nn import AdaptiveGraphUNet, GraphMerger, SubgraphMask, fold
from pipeline.methods import build
from pipeline.settings import Settings
from pipeline.store import load_run

BATCHES = (1, 3, 8)  # sizes in the comparison, which differ from the batch size of the export
Inputs = tuple[Tensor, ...]
Runs = dict[str, Callable[..., Any]]


def nets(run: Path | None) -> dict[str, tuple[nn.Module, Inputs]]:
    """Return all nets, each with example inputs."""
    removal = RemovalSets.by_level(HAND)
    branches, merge = AdaptiveGraphUNet(2, 3, removal), GraphMerger(3, 3, removal)
    core = nn.Sequential(SubgraphMask(removal), branches, merge).eval()
    settings = Settings(backbone="hrnet_w18_small", encoder_channels=16, image_size=64)
    settings, whole = load_run(run) if run else (settings, build(settings).eval())
    uv, score = torch.rand(2, HAND.num_joints, 2), torch.rand(2, HAND.num_joints)
    images = torch.randint(256, (2, 3, settings.image_size, settings.image_size), dtype=torch.uint8)
    return {
        "core": (core, (uv,)),
        "folded": (fold(core), (uv,)),
        "lifter": (pretrained_lifter(), (uv, score)),
        "generator": (whole.generator, (images,)),
        "psjnet": (whole, (images,)),
    }


def write_pt2(net: nn.Module, inputs: Inputs, path: Path) -> Runs:
    """Save the exported program, which runs in Python with torch and without handgraph."""
    torch.export.save(trace(net, *inputs), path)
    return {"torch": torch.export.load(path).module()}


def write_onnx(net: nn.Module, inputs: Inputs, path: Path) -> Runs:
    """Convert the net to ONNX, for onnxruntime, OpenVINO and other runtimes."""
    path.write_bytes(to_onnx(net, *inputs))
    runs: Runs = {"onnxruntime": load_onnxruntime(path)}
    return runs | ({"OpenVINO": load_openvino(path)} if find_spec("openvino") else {})


def write_aoti(net: nn.Module, inputs: Inputs, path: Path) -> Runs:
    """Compile the net to machine code for this processor, for Python and C++."""
    torch._inductor.aoti_compile_and_package(trace(net, *inputs), package_path=str(path))
    return {"AOTInductor": torch._inductor.aoti_load_package(str(path))}


def largest_difference(run: Callable[..., Any], net: nn.Module, inputs: Inputs) -> float:
    """Return the largest difference over all batch sizes, relative to the largest value or 1."""
    found = []
    for batch in BATCHES:
        draw = [fresh(x, batch) for x in inputs]
        pairs = zip(tree_leaves(run(*draw)), tree_leaves(net(*draw)), strict=True)
        found += [((x - y).abs().max() / y.abs().max().clamp(min=1)).item() for x, y in pairs]
    return max(found)


def fresh(x: Tensor, batch: int) -> Tensor:
    """Draw a random input like this one, with another batch size."""
    shape = (batch, *x.shape[1:])
    return torch.randint(256, shape, dtype=x.dtype) if x.dtype == torch.uint8 else torch.rand(shape)


WRITE = {"pt2": write_pt2, "onnx": write_onnx, "aoti.pt2": write_aoti}
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--formats", nargs="+", choices=list(WRITE), default=list(WRITE))
parser.add_argument("--run", type=Path, help="folder of a PSJNet that train.py wrote")
parser.add_argument("--out", type=Path, default=Path("runs/export"))
args = parser.parse_args()
if "aoti.pt2" in args.formats and shutil.which("g++") is None:
    print("aoti.pt2 is skipped: AOTInductor needs a C++ compiler, and g++ is not installed")
    args.formats.remove("aoti.pt2")
args.out.mkdir(parents=True, exist_ok=True)
warnings.simplefilter("ignore")  # the exporters warn about future changes
torch.manual_seed(0)
print(f"{'file':20s}{'kB':>8s}  {'in':12s} largest difference at batch sizes {BATCHES}")
with torch.no_grad():
    for name, (net, inputs) in nets(args.run).items():
        for kind in args.formats:
            if (kind == "aoti.pt2" and name != "core") or (kind == "pt2" and name == "psjnet"):
                continue
            path = args.out / f"{name}.{kind}"
            for runtime, run in WRITE[kind](net, inputs, path).items():
                size, apart = path.stat().st_size / 1024, largest_difference(run, net, inputs)
                print(f"{path.name:20s}{size:8.0f}  {runtime:12s} {apart:.1e}", flush=True)
