"""Compatibility with other libraries.

This file covers arguments of the wrong type, size or value; precision under autocast; safe
globals; `EdgeIndex`, `HeteroConv`, `GPSConv`, `Sequential`, `summary` and `PyGModelHubMixin` of
PyG; `functional_call`, `vmap` and `jacrev`; activation checkpoints; the number of graphs of
`torch.compile`; `DataLoader` with fork and spawn; averages of Lightning. Other files cover:

- `tests/test_devices.py`: tensors on two devices, ensembles on the meta device
- `tests/nn/test_constants.py`: `AveragedModel`, EMA and SWA, with buffers
- `tests/nn/engines/test_conditions.py`: pruning, parametrisations, hooks, FSDP2, Captum
- `tests/nn/test_skeleton_convs.py`: `Explainer` and `GNNExplainer`
- `tests/examples/test_train_slow.py`: DDP, as Lightning Fabric runs it
- `tests/nn/test_core.py`, `tests/test_export.py`: `torch.export` with any batch and with one
  sample, Inductor, ONNX, AOTInductor
- `tests/hub/test_saved.py`: safetensors and the Hugging Face Hub
- `tests/metrics/test_modules.py`: torchmetrics
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.func import functional_call, jacrev, vmap
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader
from torch_geometric.nn import (
    GATv2Conv,
    GCNConv,
    GPSConv,
    HeteroConv,
    SAGEConv,
    Sequential,
    summary,
)
from torch_geometric.nn.model_hub import PyGModelHubMixin

from handgraph import (
    COCO,
    HAND,
    RHD,
    RemovalSets,
    Skeleton,
    coarsen,
    geometry,
    losses,
    masks,
    metrics,
)
from handgraph.datasets import SyntheticHands
from handgraph.nn import (
    AdaptiveGraphConv,
    AdaptiveGraphUNet,
    AGCNConv,
    BranchLinear,
    GatedMerger,
    GraphMerger,
    Hypotheses,
    HypothesisGraphMerger,
    JointHead,
    MeanMerger,
    ModulatedGraphConv,
    NodePool,
    PerBranch,
    SemGraphConv,
    SkeletalPool,
    SkeletalUnpool,
    SkeletonConv,
    SkeletonUNet,
    SubgraphMask,
    VisibilityLifter,
    from_dense,
    halving_ladder,
    to_dense,
)
from handgraph.published import GraphNet, ResidualGCN
from handgraph.transforms import MirrorHand
from handgraph.vision import (
    BranchFeatureEncoder,
    HeatmapGenerator,
    SharedFeatureEncoder,
    decode_heatmaps,
    gaussian_heatmaps,
    soft_argmax,
)
from tests.nn.nets import LEVELS, core

UNET = AdaptiveGraphUNet(2, 3, HAND)

# Arguments that are not tensors

TAKES_POSES = {
    "mask": SubgraphMask(LEVELS),
    "net": UNET,
    "branches": AdaptiveGraphUNet(2, 3, LEVELS),
    "pool": NodePool(21, 4),
    "skeletal pool": SkeletalPool(coarsen(HAND)[0]),
    "skeletal unpool": SkeletalUnpool(coarsen(HAND)[0]),
    "adapter": SkeletonConv(GCNConv(2, 4), HAND),
    "skeleton net": SkeletonUNet(2, 3, HAND, conv=GCNConv),
    "modules": PerBranch(LEVELS, lambda s: nn.Linear(2, 3)),
    "hypotheses": Hypotheses(LEVELS),
    "mean": MeanMerger(3, 3, LEVELS),
    "gated": GatedMerger(3, 3, LEVELS),
    "graph": GraphMerger(3, 3, LEVELS),
    "literal": HypothesisGraphMerger(3, 3, LEVELS),
    "encoder": SharedFeatureEncoder(4, 2, LEVELS, hidden_channels=4),
}
TAKES_POSES |= {
    "semantic": lambda x: SemGraphConv(2, 4, HAND)(x, HAND.edge_index),
    "modulated": lambda x: ModulatedGraphConv(2, 4, HAND)(x, HAND.edge_index),
    "AGCN": lambda x: AGCNConv(2, 4, HAND)(x, HAND.edge_index),
    "adaptive": lambda x: AdaptiveGraphConv(2, 4)(x, torch.eye(21)),
    "linear": BranchLinear(2, 4),
    "head": JointHead(UNET, 2, 3, 3, HAND),
    "visibility": lambda x: VisibilityLifter(UNET, UNET, HAND)(x, torch.rand(21, 1)),
    "residual": ResidualGCN(2, 3, HAND),
    "GraphNet": GraphNet(2, 3, 21),
    "generator": HeatmapGenerator(21, backbone="hrnet_w18_small"),
}
DATA = HAND.to_data(x=torch.rand(21, 2))
GIVEN = {
    "Data": (DATA, r"got Data: call handgraph\.nn\.to_dense"),
    "Batch": (Batch.from_data_list([DATA]), r"got .*Batch: call handgraph\.nn\.to_dense"),
    "array": (np.zeros((8, 21, 2)), "got ndarray: call torch.from_numpy"),
    "list": ([[1.0, 2.0]], "got list: call torch.tensor"),
}


@pytest.mark.parametrize(("given", "message"), GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("module", TAKES_POSES.values(), ids=TAKES_POSES)
def test_inputs_that_are_not_tensors_raise_a_clear_error(module, given, message):
    with pytest.raises(TypeError, match=message):
        module(given)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: geometry.project(x, torch.eye(3)),
        lambda x: geometry.project(torch.ones(21, 3), x),
        lambda x: losses.pose_loss(x, torch.zeros(21, 3)),
        lambda x: metrics.mpjpe(x, torch.zeros(21, 3)),
        lambda x: metrics.visible_mean(torch.ones(21), x),
        lambda x: decode_heatmaps(x),
    ],
)
def test_errors_of_functions_show_how_to_make_a_tensor(call):
    with pytest.raises(TypeError, match="got ndarray: call torch.from_numpy"):
        call(np.ones((21, 3)))


WANTS_SETS = {
    "mask": SubgraphMask,
    "hypotheses": Hypotheses,
    "mean": lambda r: MeanMerger(3, 3, r),
    "graph": lambda r: GraphMerger(3, 3, r),
    "modules": lambda r: PerBranch(r, lambda s: nn.Linear(2, 3)),
    "encoder": lambda r: BranchFeatureEncoder(4, 2, r),
    "loss": lambda r: losses.branch_losses(torch.ones(4, 16, 3), torch.ones(21, 3), r),
}
WANTS_SKELETON = {
    "sets": lambda s: RemovalSets(s, {"tips": "TIP"}),
    "adapter": lambda s: SkeletonConv(GCNConv(2, 4), s),
    "net": lambda s: SkeletonUNet(2, 3, s, conv=GCNConv),
    "head": lambda s: JointHead(UNET, 2, 3, 3, s),
    "visibility": lambda s: VisibilityLifter(UNET, UNET, s),
    "ladder": coarsen,
    "dense": lambda s: to_dense(DATA, s),
    "sparse": lambda s: from_dense(torch.rand(21, 2), s),
}


@pytest.mark.parametrize("make", WANTS_SETS.values(), ids=WANTS_SETS)
def test_a_skeleton_in_the_place_of_removal_sets(make):
    with pytest.raises(TypeError, match=r"expected RemovalSets, such as .*, got Skeleton"):
        make(HAND)


@pytest.mark.parametrize("make", WANTS_SKELETON.values(), ids=WANTS_SKELETON)
def test_removal_sets_in_the_place_of_a_skeleton(make):
    with pytest.raises(TypeError, match="expected a Skeleton, such as HAND, got RemovalSets"):
        make(LEVELS)


@pytest.mark.parametrize(
    ("count", "error"), [(2.5, TypeError), (True, TypeError), (10**19, ValueError), (0, ValueError)]
)
def test_counts_must_be_integers(count, error):
    with pytest.raises(error, match="num_sets"):
        RemovalSets.none(HAND, count)
    with pytest.raises(error, match="num_sets"):
        RemovalSets.random(HAND, count, 5)


def test_ladders_begin_with_a_node():
    with pytest.raises(ValueError, match="num_nodes"):
        halving_ladder(-1)


def test_sets_are_matched_by_name():
    with pytest.raises(TypeError, match=r"expected sets by name, such as .*, got list"):
        RemovalSets(HAND, [["wrist"]])


@pytest.mark.parametrize("size", [np.int64(2), np.int32(2)])
def test_sizes_from_numpy(size):
    assert AdaptiveGraphUNet(size, 3, HAND)(torch.rand(4, 21, 2)).shape == (4, 21, 3)
    assert SkeletonConv(GCNConv(size, 4), HAND)(torch.rand(4, 21, 2)).shape == (4, 21, 4)
    assert len(RemovalSets.none(HAND, size)) == 2


# Precision


HEATMAPS = gaussian_heatmaps(torch.tensor([[100.5, 60.25]]), 256)
POSE, TARGET = torch.rand(8, 21, 3) + 1, torch.rand(8, 21, 3) + 1
K = torch.tensor([[300.0, 0.0, 150.0], [0.0, 300.0, 160.0], [0.0, 0.0, 1.0]])
EXACT_ONES = {
    "soft_argmax": lambda: soft_argmax(HEATMAPS)[0],
    "decode_heatmaps": lambda: decode_heatmaps(HEATMAPS)[0],
    "gaussian_heatmaps": lambda: gaussian_heatmaps(torch.tensor([[100.5, 60.25]]), 256),
    "pose_loss": lambda: losses.pose_loss(POSE, TARGET),
    "branch_losses": lambda: losses.branch_losses(torch.rand(8, 4, 16, 3) * 0 + 1, TARGET, LEVELS),
    "laplace_loss": lambda: losses.laplace_loss(POSE, TARGET, POSE - TARGET),
    "mpjpe": lambda: metrics.mpjpe(POSE, TARGET),
    "pa_mpjpe": lambda: metrics.pa_mpjpe(POSE, TARGET),
    "bootstrap": lambda: torch.stack(
        metrics.bootstrap_interval(
            metrics.joint_errors(POSE, TARGET), generator=torch.Generator().manual_seed(0)
        )
    ),
    "project": lambda: geometry.project(POSE, K),
    "back_project": lambda: geometry.back_project(100 * POSE[..., :2], POSE[..., 2], K),
    "transform_points": lambda: geometry.transform_points(K, POSE[..., :2]),
    "transform_intrinsics": lambda: geometry.transform_intrinsics(K, K),
    "view_rotation": lambda: geometry.view_rotation(100 * POSE[..., :2], K),
    "mirror_hand": lambda: torch.cat(geometry.mirror_hand(POSE[0], K, 320)),
}


@pytest.mark.parametrize("compute", EXACT_ONES.values(), ids=EXACT_ONES)
def test_autocast_leaves_coordinates_losses_and_metrics_alone(compute):
    expected = compute()
    with torch.autocast("cpu", torch.bfloat16):
        found = compute()
    assert found.dtype == torch.float32
    assert_close(found, expected, rtol=0, atol=0)


# Files


def test_removal_sets_and_skeletons_load_with_weights_only(tmp_path):
    """Lightning's checkpoints store them as hyperparameters."""
    saved = {"removal": LEVELS, "skeleton": COCO, "ladder": coarsen(HAND)}
    torch.save(saved, tmp_path / "checkpoint.pt")
    loaded = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert loaded["removal"] == LEVELS
    assert torch.equal(loaded["removal"].kept, LEVELS.kept)
    assert (loaded["skeleton"], loaded["ladder"]) == (COCO, coarsen(HAND))


# PyG


@pytest.mark.parametrize("skeleton", [HAND, RHD, COCO], ids=lambda s: s.name)
def test_edges_are_sorted_by_target(skeleton):
    source, target = skeleton.edge_index
    code = target * skeleton.num_joints + source
    assert bool((code.diff() > 0).all())
    assert skeleton.to_data().is_sorted(sort_by_row=False)


def test_an_lstm_aggregation_on_a_skeleton():
    conv = SAGEConv(2, 4, aggr="lstm")
    x = torch.rand(3, 21, 2)
    expected = torch.stack([conv(pose, HAND.edge_index) for pose in x])
    assert_close(SkeletonConv(conv, HAND)(x), expected)


def test_dense_batch_in_another_order_raises_with_the_call_that_reorders_it():
    hands = [HAND.to_data(x=torch.rand(21, 2)) for _ in range(2)]
    order = RHD.index_from(HAND)
    data = Batch.from_data_list([RHD.to_data(x=hand.x[order]) for hand in hands])
    with pytest.raises(ValueError, match=r"missing: wrist.* They are those of RHD: ") as caught:
        to_dense(data, HAND)
    call = caught.value.args[0].split("those of RHD: ")[1]
    scope = {"to_dense": to_dense, "data": data, "HAND": HAND, "RHD": RHD}
    assert_close(eval(call, scope), to_dense(Batch.from_data_list(hands), HAND))


def test_dense_batches_in_an_order_of_one_s_own():
    hand, names = torch.rand(21, 2), HAND.joints[::-1]
    data = HAND.reorder("reversed", names).to_data(x=hand.flip(0))
    with pytest.raises(ValueError, match="If names lists your joints in order: ") as caught:
        to_dense(data, HAND)
    first, call = caught.value.args[0].split("in order: ")[1].split("; ")
    scope = {"to_dense": to_dense, "data": data, "HAND": HAND, "names": names}
    exec(first, scope)
    assert_close(eval(call, scope), hand.unsqueeze(0))


def test_dense_batches_are_data():
    with pytest.raises(TypeError, match="expected a Data or a Batch, got Tensor"):
        to_dense(torch.rand(21, 2), HAND)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("skeleton", [HAND, RHD], ids=lambda s: s.name)
def test_edges_given_as_adj_t_are_checked(skeleton):
    data = skeleton.to_data(x=torch.rand(21, 2))
    source, target = data.edge_index
    data.edge_index = None
    data.adj_t = torch.sparse_coo_tensor(
        torch.stack([target, source]), torch.ones(40), (21, 21)
    ).to_sparse_csr()
    if skeleton is HAND:
        assert to_dense(data, HAND).shape == (1, 21, 2)
    else:
        with pytest.raises(ValueError, match="the edges are not those of HAND"):
            to_dense(data, HAND)


# PyTorch


def test_functional_calls_and_transforms():
    net, x = core(LEVELS), torch.rand(5, 21, 2, dtype=torch.float64)
    parameters = dict(net.named_parameters())
    assert_close(functional_call(net, parameters, (x,)), net(x))
    each = vmap(lambda one: functional_call(net, parameters, (one,)))(x)
    assert_close(each, net(x))
    jacobian = jacrev(lambda one: net(one))(x[0])
    assert jacobian.shape == (21, 3, 21, 2)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpoints(use_reentrant):
    net = core(LEVELS)
    x = torch.rand(5, 21, 2, dtype=torch.float64, requires_grad=True)
    grads = []
    for run in (net, lambda x: checkpoint(net, x, use_reentrant=use_reentrant)):
        net.zero_grad()
        run(x).square().sum().backward()
        grads.append([p.grad.clone() for p in net.parameters()])
    assert_close(grads[0], grads[1])


def test_a_convolution_in_float32_only():
    class Shift(GATv2Conv):
        def forward(self, x, edge_index):
            return super().forward(x, edge_index) + torch.zeros(1, dtype=x.dtype)

    class Narrow(nn.Module):
        in_channels = 2

        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(2, 4)

        def forward(self, x, edge_index):
            out = torch.zeros(*x.shape[:-1], 4)
            return out.index_add(-2, edge_index[1], self.lin(x).index_select(-2, edge_index[0]))

    assert SkeletonConv(Shift(2, 4), HAND).out_channels == 4
    assert SkeletonConv(Narrow(), HAND)(torch.rand(3, 21, 2)).shape == (3, 21, 4)


def test_the_default_convolution_of_a_skeleton_net():
    net = SkeletonUNet(2, 3, HAND)
    assert net(torch.rand(4, 21, 2)).shape == (4, 21, 3)
    assert "conv=GraphConv" in repr(net)


@pytest.mark.parametrize("conv", [SemGraphConv, ModulatedGraphConv, AGCNConv])
def test_edge_index_of_its_own_class(conv):
    layer, x = conv(2, 4, HAND), torch.rand(21, 2)
    edges = EdgeIndex(HAND.edge_index, sparse_size=(21, 21), sort_order="col")
    assert_close(layer(x, edges), layer(x, HAND.edge_index))


@pytest.mark.parametrize("conv", [SemGraphConv, ModulatedGraphConv, AGCNConv])
def test_two_hands_in_a_heterogeneous_graph(conv):
    edges = {("left", "bone", "left"): HAND.edge_index, ("right", "bone", "right"): HAND.edge_index}
    net = HeteroConv({kind: conv(2, 4, HAND) for kind in edges})
    x = {"left": torch.rand(21, 2), "right": torch.rand(21, 2)}
    out = net(x, edges)
    kind = ("left", "bone", "left")
    assert_close(out["left"], net.convs[kind](x["left"], HAND.edge_index))


@pytest.mark.parametrize("conv", [SemGraphConv, ModulatedGraphConv, AGCNConv])
def test_local_layer_of_gps(conv):
    net = GPSConv(4, conv(4, 4, HAND), heads=2).eval()
    x = torch.rand(42, 4)
    batch = Batch.from_data_list([HAND.to_data(), HAND.to_data()])
    both = net(x, batch.edge_index, batch.batch)
    alone = [net(one, HAND.edge_index) for one in x.split(21)]
    assert_close(both, torch.cat(alone))


def test_sequential_and_summary_of_pyg():
    pytest.importorskip("tabulate")
    net = Sequential(
        "x, edge_index",
        [(SemGraphConv(2, 4, HAND), "x, edge_index -> x"), nn.ReLU(), (nn.Linear(4, 3), "x -> x")],
    )
    text = summary(net, torch.rand(21, 2), HAND.edge_index)
    assert "SemGraphConv" in text
    assert "AdaptiveGraphConv" in summary(UNET, torch.rand(4, 21, 2), max_depth=5)


def test_nets_go_to_the_hub_of_pyg(tmp_path):
    class Net(AdaptiveGraphUNet, PyGModelHubMixin):
        def __init__(self):
            AdaptiveGraphUNet.__init__(self, 2, 3, HAND)
            PyGModelHubMixin.__init__(self, "net", "hands", {})

    net = Net()
    net.save_pretrained(tmp_path)
    state = torch.load(tmp_path / "model.pth", weights_only=True)
    again = AdaptiveGraphUNet(2, 3, HAND)
    again.load_state_dict(state)
    x = torch.rand(4, 21, 2)
    assert_close(again(x), net(x))


@pytest.mark.slow
def test_few_graphs_for_many_batches():
    """One graph is for a batch of 1, and one is for batches of any other size."""
    torch._dynamo.reset()
    counter = CompileCounter()
    net = core(LEVELS).float()
    compiled = torch.compile(net, backend=counter)
    for batch in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89):
        x = torch.rand(batch, 21, 2)
        assert_close(compiled(x), net(x), rtol=1e-4, atol=1e-5)
    assert counter.frame_count == 2


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers(method):
    hands = SyntheticHands(8, seed=3, progress=False, transform=MirrorHand(256))
    alone = next(iter(DataLoader(hands, batch_size=8)))
    loader = DataLoader(hands, batch_size=8, num_workers=1, multiprocessing_context=method)
    assert_close(next(iter(loader)).x, alone.x)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["EMAWeightAveraging", "WeightAveraging"])
def test_averages_of_lightning(name, tmp_path):
    callbacks = pytest.importorskip("lightning.pytorch.callbacks")
    if not hasattr(callbacks, name):
        pytest.skip("this lightning has no such callback")
    lightning = pytest.importorskip("lightning.pytorch")

    class Lifter(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = core(LEVELS).float()

        def training_step(self, batch):
            return self.net(batch).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0)

    module, x = Lifter(), torch.rand(8, 21, 2)
    before = module.net(x).detach()
    trainer = lightning.Trainer(
        max_steps=5, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        callbacks=[getattr(callbacks, name)()],
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(x, batch_size=4))
    assert_close(module.net(x), before)


@pytest.mark.parametrize("size", [2.5, True, "2"])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: AdaptiveGraphUNet(n, 3, HAND),
        lambda n: AdaptiveGraphUNet(2, n, HAND),
        lambda n: AdaptiveGraphUNet(2, 3, HAND, channels=n),
        lambda n: BranchLinear(2, n),
        lambda n: NodePool(n, 2),
        lambda n: SemGraphConv(n, 3, HAND),
        lambda n: MeanMerger(n, 3, LEVELS),
        lambda n: GraphMerger(3, 3, LEVELS, feature_channels=n),
        lambda n: SkeletonUNet(2, 3, HAND, channels=n),
        lambda n: SharedFeatureEncoder(n, 2, LEVELS),
        lambda n: Skeleton.edgeless(n),
        lambda n: halving_ladder(n),
    ],
)
def test_sizes_are_whole_numbers(make, size):
    with pytest.raises(TypeError, match=f"as int, got {type(size).__name__}"):
        make(size)


def test_sizes_have_an_end():
    """For larger sizes, PyTorch itself reports an overflow while unpacking."""
    for make in (lambda n: BranchLinear(2, n), lambda n: NodePool(21, n), halving_ladder):
        with pytest.raises(ValueError, match="(most|1 to) 2147483647, got 10000000000000000000"):
            make(10**19)
    with pytest.raises(ValueError, match="num_joints to be from 1 to 1048576, got 1000000000000"):
        Skeleton.edgeless(10**19)


SCORE, UV = torch.rand(21), torch.rand(21, 2)
NUMBERS = {
    "alpha": lambda n: losses.pose_loss(POSE, TARGET, alpha=n),
    "beta": lambda n: losses.branch_losses(torch.ones(8, 4, 16, 3), TARGET, LEVELS, beta=n),
    "slope": lambda n: masks.soft_gate(SCORE, slope=n),
    "bias": lambda n: masks.sample_visible(SCORE, bias=n),
    "probability": lambda n: masks.drop_joints((4, 21), n),
    "margin": lambda n: geometry.crop_matrix(UV, 256, n),
    "size": lambda n: geometry.normalize_uv(UV, n),
    "width": lambda n: geometry.mirror_matrix(n),
    "high": lambda n: metrics.thresholds(n),
    "low": lambda n: metrics.thresholds(low=n),
    "level": lambda n: metrics.bootstrap_interval(torch.rand(8, 21), level=n),
    "temperature": lambda n: soft_argmax(HEATMAPS, temperature=n),
    "offset": lambda n: decode_heatmaps(HEATMAPS, offset=n),
    "sigma": lambda n: gaussian_heatmaps(UV, 64, sigma=n),
}
SIGNED = {"slope", "bias", "offset"}
"""These arguments may be negative."""


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, -1, True, "3"])
def test_numbers_are_numbers(name, value):
    if value == -1 and name in SIGNED:
        NUMBERS[name](value)
        return
    error = TypeError if isinstance(value, bool | str) else ValueError
    with pytest.raises(error, match=rf"expected .*\b{name}\b.*, got "):
        NUMBERS[name](value)


@pytest.mark.parametrize("threshold", [torch.nan, True, "3"])
def test_a_threshold_may_be_infinite(threshold):
    assert masks.keep_confident(SCORE, -torch.inf).all()
    with pytest.raises(
        (TypeError, ValueError), match="expected threshold (as|to be) a number, got"
    ):
        masks.keep_confident(SCORE, threshold)


@pytest.mark.parametrize("count", [2.5, True, "3", 10**19, -1])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: masks.stratified_levels(n, 21),
        lambda n: masks.stratified_levels(4, n),
        lambda n: BranchLinear(2, 3, n),
        lambda n: AdaptiveGraphUNet(2, 3, HAND, nodes=(21, n, 1)),
        lambda n: JointHead(UNET, n, 3, 3, HAND),
        lambda n: JointHead(UNET, 2, n, 3, HAND),
        lambda n: HypothesisGraphMerger(3, 3, LEVELS, feature_nodes=n),
        lambda n: SkeletonConv(GCNConv(2, 4), HAND, n),
        lambda n: AGCNConv(2, n, HAND),
        lambda n: ResidualGCN(2, 3, HAND, num_blocks=n),
        lambda n: GraphNet(2, 3, n),
        lambda n: HeatmapGenerator(n, backbone="hrnet_w18_small"),
        lambda n: geometry.warp_image(torch.rand(3, 8, 8), torch.eye(3), n),
        lambda n: gaussian_heatmaps(UV, n),
        lambda n: metrics.bootstrap_means(torch.rand(8, 21), num_resamples=n),
    ],
)
def test_counts_are_whole_and_in_range(make, count):
    error = TypeError if isinstance(count, bool | str | float) else ValueError
    with pytest.raises(error, match="expected .*, got "):
        make(count)


def test_weights_that_are_learned():
    """A loss weight may be a tensor, which keeps its gradient."""
    alpha = torch.tensor(0.5, requires_grad=True)
    losses.pose_loss(POSE, TARGET, alpha=alpha).backward()
    assert_close(alpha.grad, losses.pose_loss(POSE, TARGET, alpha=1, beta=0))


def test_checks_of_numbers_compile():
    compiled = torch.compile(losses.pose_loss, backend="eager", fullgraph=True)
    for alpha in (0.01, 0.1, 1, 2.5):
        assert_close(
            compiled(POSE, TARGET, alpha=alpha), losses.pose_loss(POSE, TARGET, alpha=alpha)
        )
