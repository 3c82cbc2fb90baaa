"""Tensors on two devices cause an error that names both.

The device ``meta`` represents a GPU.
"""

import copy
import subprocess
import sys

import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap
from torch.testing import assert_close
from torch_geometric.nn import GCNConv

from handgraph import HAND, RemovalSets, coarsen, geometry, losses, masks, metrics
from handgraph.nn import (
    AdaptiveGraphConv,
    AdaptiveGraphUNet,
    AGCNConv,
    BranchLinear,
    ConsistencyMerger,
    GatedMerger,
    GraphMerger,
    Hypotheses,
    HypothesisGraphMerger,
    JointHead,
    MeanMerger,
    ModulatedGraphConv,
    NodePool,
    PrecisionMerger,
    SemGraphConv,
    SkeletalPool,
    SkeletalUnpool,
    SkeletonConv,
    SkeletonEdges,
    SkeletonUNet,
    SubgraphMask,
    VisibilityLifter,
    fold,
)
from handgraph.published import GraphNet, ResidualGCN
from handgraph.vision import (
    BranchFeatureEncoder,
    FeatureEncoder,
    HeatmapGenerator,
    JointFeatureSampler,
    SharedFeatureEncoder,
)
from tests.nn.nets import LEVELS, core

RAGGED = RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"]})
POSE, EDGES = torch.rand(4, 21, 2), HAND.edge_index
PARTIAL = torch.rand(4, 4, 16, 3)
SEEN = torch.ones(4, 21, dtype=torch.bool)
MAP = torch.rand(2, 4, 16, 16)


def unet(out_channels=3, in_channels=2):
    return AdaptiveGraphUNet(in_channels, out_channels, HAND)


MODULES = {
    "net": (unet(), POSE),
    "net with a mask": (unet(), POSE, SEEN),
    "branches": (AdaptiveGraphUNet(2, 3, LEVELS), PARTIAL[..., :2]),
    "ragged branches": (AdaptiveGraphUNet(2, 3, RAGGED), torch.rand(4, 2, 16, 2)),
    "core": (core(LEVELS).float(), POSE),
    "folded net": (fold(unet()), POSE),
    "folded net with a mask": (fold(unet()), POSE, SEEN),
    "folded core": (fold(core(LEVELS).float()), POSE),
    "mask": (SubgraphMask(LEVELS), POSE),
    "hypotheses": (Hypotheses(LEVELS), PARTIAL),
    "mean": (MeanMerger(3, 3, LEVELS), PARTIAL),
    "gated": (GatedMerger(3, 3, LEVELS), PARTIAL),
    "consistent": (ConsistencyMerger(3, 3, LEVELS), PARTIAL),
    "precise": (PrecisionMerger(6, 3, LEVELS), torch.rand(4, 4, 16, 6)),
    "literal": (HypothesisGraphMerger(3, 3, LEVELS), PARTIAL),
    "graph": (GraphMerger(3, 3, LEVELS, feature_channels=2), PARTIAL, POSE),
    "pool": (NodePool(21, 11), POSE),
    "skeletal pool": (SkeletalPool(coarsen(HAND)[0]), POSE),
    "skeletal unpool": (SkeletalUnpool(coarsen(HAND)[0]), POSE[:, :11]),
    "adapter": (SkeletonConv(GCNConv(2, 4), HAND), POSE),
    "skeleton net": (SkeletonUNet(2, 3, HAND), POSE),
    "edges": (SkeletonEdges("layer", 2, HAND), POSE, EDGES),
    "semantic": (SemGraphConv(2, 4, HAND), POSE, EDGES),
    "modulated": (ModulatedGraphConv(2, 4, HAND), POSE, EDGES),
    "AGCN": (AGCNConv(2, 4, HAND), POSE, EDGES),
    "adaptive": (AdaptiveGraphConv(2, 4), POSE, torch.eye(21), torch.ones(4, 21)),
    "linear": (BranchLinear(2, 4), POSE),
    "head": (JointHead(unet(), 2, 3, 3, HAND), POSE),
    "visibility": (VisibilityLifter(unet(1, 3), unet(), HAND), POSE, torch.rand(4, 21, 1)),
    "residual": (ResidualGCN(2, 3, HAND), POSE),
    "GraphNet": (GraphNet(2, 3, 21), POSE),
    "encoder": (FeatureEncoder(4, 2, 21), MAP),
    "shared encoder": (SharedFeatureEncoder(4, 2, LEVELS, hidden_channels=4), MAP),
    "branch encoder": (BranchFeatureEncoder(4, 2, LEVELS), MAP),
    "sampler": (JointFeatureSampler(4, 2), MAP, POSE[:2]),
}


def split(args):
    """Return the arguments with one of them on the other device, for each argument."""
    for one in range(len(args)):
        yield [arg.to("meta") if n == one else arg for n, arg in enumerate(args)]


def check(call, args):
    with pytest.raises(ValueError, match=r"on (cpu|meta)\b.*, got .*(cpu|meta)") as caught:
        call(*args)
    assert {"cpu", "meta"} <= set(caught.value.args[0].replace(",", "").replace(":", "").split())


@pytest.mark.parametrize(("module", "args"), [(m, a) for m, *a in MODULES.values()], ids=MODULES)
def test_modules_and_their_input(module, args):
    elsewhere = copy.deepcopy(module).to("meta")
    check(elsewhere, args)
    check(module, [arg.to("meta") for arg in args])
    for some in split(args):
        check(module, some)


@pytest.mark.parametrize("name", ["net", "ragged branches", "folded net", "core", "semantic"])
def test_one_other_device_is_right(name):
    module, *args = MODULES[name]
    expected = module(*args)
    found = copy.deepcopy(module).to("meta")(*(arg.to("meta") for arg in args))
    assert (found.device.type, found.shape) == ("meta", expected.shape)


def test_a_generator_and_its_images():
    with torch.device("meta"):
        net = HeatmapGenerator(21, backbone="hrnet_w18_small")
    check(net, [torch.rand(1, 3, 64, 64)])


def test_the_mask_of_a_merger():
    merge = MeanMerger(3, 3, LEVELS)
    there = torch.ones(4, 4, 16, dtype=torch.bool)
    for some in split([PARTIAL, there]):
        check(lambda partial, mask: merge(partial, node_mask=mask), some)


XYZ, MATRIX, ONE = torch.rand(4, 21, 3) + 1, torch.eye(3), torch.rand(4)
UV, IMAGE = XYZ[..., :2], torch.rand(2, 3, 16, 16)
FUNCTIONS = {
    "project": (geometry.project, XYZ, MATRIX),
    "back_project": (geometry.back_project, UV, XYZ[..., 2], MATRIX),
    "camera_to_uvd": (geometry.camera_to_uvd, XYZ, MATRIX),
    "crop_matrix": (lambda uv, mask: geometry.crop_matrix(uv, 256, mask=mask), UV, SEEN),
    "relative_depth": (geometry.relative_depth, XYZ, ONE),
    "absolute_depth": (geometry.absolute_depth, XYZ[..., 2], ONE, ONE),
    "mirror_hand": (lambda xyz, K: geometry.mirror_hand(xyz, K, 320), XYZ, MATRIX),
    "transform_points": (geometry.transform_points, MATRIX, UV),
    "transform_intrinsics": (geometry.transform_intrinsics, MATRIX, MATRIX.expand(4, 3, 3)),
    "view_rotation": (lambda uv, K, m: geometry.view_rotation(uv, K, mask=m), UV, MATRIX, SEEN),
    "warp_image": (lambda image, A: geometry.warp_image(image, A, 8), IMAGE, MATRIX),
    "pose_loss": (lambda a, b, m: losses.pose_loss(a, b, mask=m), XYZ, XYZ, SEEN),
    "heatmap_loss": (losses.heatmap_loss, IMAGE, IMAGE),
    "laplace_loss": (
        lambda a, b, s, m: losses.laplace_loss(a, b, s, mask=m), XYZ, XYZ, XYZ, SEEN
    ),
    "branch_losses": (
        lambda p, t, m: losses.branch_losses(p, t, LEVELS, mask=m), PARTIAL, XYZ, SEEN
    ),
    "mpjpe": (metrics.mpjpe, XYZ, XYZ, SEEN),
    "pck_curve": (metrics.pck_curve, torch.rand(4, 21), torch.tensor([0.1, 0.2]), SEEN),
    "average_draws": (masks.average_draws, XYZ[None], SEEN[None]),
}  # fmt: skip


@pytest.mark.parametrize(("call", "args"), [(f, a) for f, *a in FUNCTIONS.values()], ids=FUNCTIONS)
def test_functions_of_several_tensors(call, args):
    call(*args)
    for some in split(args):
        check(call, some)


def test_ensembles_of_nets_on_a_base_without_numbers():
    """The code follows PyTorch's tutorial on ensembles."""
    nets = [unet() for _ in range(3)]
    base = copy.deepcopy(nets[0]).to("meta")
    together = vmap(lambda *state: functional_call(base, state, (POSE,)))(*stack_module_state(nets))
    assert_close(together, torch.stack([net(POSE) for net in nets]))


@pytest.mark.parametrize(
    "make", [lambda: SkeletonUNet(2, 3, HAND), lambda: core(LEVELS).float()], ids=["PyG", "core"]
)
def test_indices_on_another_device_are_not_read(make):
    """Indexing with a tensor without values would give arbitrary output."""
    net = make()
    base = copy.deepcopy(net).to("meta")
    check(lambda x: functional_call(base, dict(net.named_parameters()), (x,)), [POSE])


def test_modules_are_imported_under_any_default_device():
    """Constants are made on import, which may happen in a ``torch.device`` context."""
    program = """
import pkgutil, torch
torch.set_default_device("meta")
import handgraph, handgraph.datasets, handgraph.formats, handgraph.transforms, handgraph.vision
for package in (handgraph.datasets, handgraph.formats):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for value in vars(__import__(found.name, fromlist=["x"])).values():
            for x in value.values() if isinstance(value, dict) else (value,):
                assert not (isinstance(x, torch.Tensor) and x.is_meta), found.name
HAND = handgraph.HAND
print(HAND.parents[:3], HAND.bones[:, 2].tolist(), HAND.index_from(handgraph.RHD)[:3].tolist())
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (found.stdout, found.returncode) == ("(-1, 0, 1) [2, 3] [0, 4, 3]\n", 0), found.stderr
