import ast
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

import psjnet
from handgraph import HAND, RemovalSets, Skeleton
from handgraph.geometry import normalize_uv
from handgraph.nn import AdaptiveGraphUNet, HypothesisGraphMerger, MeanMerger
from handgraph.vision import HeatmapGenerator, decode_heatmaps
from pipeline import baselines
from pipeline.methods import METHODS, build
from pipeline.objectives import (
    DEPTH_WEIGHT,
    StepModule,
    cai_steps,
    depth_map_loss,
    pose_target,
    psjnet_steps,
    set_step,
)
from pipeline.scores import REACH, hits_2d
from pipeline.settings import Settings
from psjnet import Detection, PoseNet, PSJNetLifter, detection
from shared.lifters import camera_space, count, psjnet_losses, to_pixels

SIZE, BATCH = 64, 3


class TinyGenerator(nn.Module):
    """Generator of two convolutions and a batch norm, with outputs of the right shape."""

    def __init__(self, feature_channels=8):
        super().__init__()
        self.feature_channels = feature_channels
        self.features = nn.Conv2d(3, feature_channels, 4, stride=4)
        self.norm = nn.BatchNorm2d(feature_channels)
        self.head = nn.Conv2d(feature_channels, 21, 1)

    def forward(self, images):
        features = self.norm(self.features(images.float() / 255))
        return self.head(features), features


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr("pipeline.methods.HeatmapGenerator", lambda *args: TinyGenerator())


@pytest.fixture
def hands():
    rng = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(shape, generator=rng)

    return {
        "image": (255 * rand(BATCH, 3, SIZE, SIZE)).to(torch.uint8),
        "uv_true": SIZE * rand(BATCH, 21, 2),
        "d": 4 * rand(BATCH, 21) - 2,
        "visible": rand(BATCH, 21) > 0.3,
        "xyz": rand(BATCH, 21, 3) + 0.5,
        "K": torch.tensor([[100.0, 0, 32], [0, 100, 32], [0, 0, 1]]).repeat(BATCH, 1, 1),
        "s": torch.full((BATCH,), 0.03),
        "depth": rand(BATCH, SIZE, SIZE) + 0.5,
        "mask": (34 * rand(BATCH, SIZE, SIZE)).to(torch.uint8),
    }


def settings(method):
    return Settings(method=method, image_size=SIZE, encoder_channels=8)


def found(channels=8, dtype=torch.float64):
    torch.manual_seed(1)
    shapes = [(BATCH, 21, 2), (BATCH, channels, 16, 16), (BATCH, 21, 16, 16)]
    return Detection(*(torch.rand(shape, dtype=dtype) for shape in shapes))


def test_lifter_is_the_composition_branch_by_branch():
    lifter = PSJNetLifter(8, encoder_channels=8).double().eval()
    seen, removal = found(), RemovalSets.by_level(HAND)
    pose, partial = lifter(seen)
    for n, kept in enumerate(removal.kept):
        feature = lifter.encode.branches[n](seen.features)
        x = torch.cat([seen.uv[:, kept], feature], dim=-1).unsqueeze(1).expand(-1, 4, -1, -1)
        torch.testing.assert_close(partial[:, n], lifter.branches(x)[:, n])
    torch.testing.assert_close(pose, lifter.merge(partial, lifter.merge_encode(seen.features)))


def test_lifter_takes_any_sets_branches_and_merger():
    removal = RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"]})  # of 16 and 15 joints
    branches = AdaptiveGraphUNet(4, 3, removal, channels=2)
    lifter = PSJNetLifter(8, removal, branches, MeanMerger(3, 3, removal), encoder_channels=4)
    assert lifter.merge_encode is None
    pose, partial = lifter(found(dtype=torch.float32))
    assert pose.shape == (BATCH, 21, 3)
    torch.testing.assert_close(pose, lifter.merge(partial))
    assert partial.shape == (BATCH, 2, 16, 3)


def test_removed_joints_do_not_reach_their_branch():
    lifter = PSJNetLifter(8, encoder_channels=8).double().eval()
    seen = found()
    uv = seen.uv.requires_grad_()
    lifter.branch_poses(seen)[:, 0].sum().backward()  # the fingertips are removed from this branch
    reached = (uv.grad != 0).any(dim=-1).any(dim=0)
    assert reached.nonzero().flatten().tolist() == RemovalSets.by_level(HAND).kept[0].tolist()


def test_detection_is_the_decoded_heatmaps_in_half_sides():
    heatmaps = torch.rand(BATCH, 21, 16, 16)
    seen = detection(heatmaps, torch.zeros(1))
    uv, _ = decode_heatmaps(heatmaps)
    torch.testing.assert_close(seen.uv, normalize_uv(uv, 64))


def test_kept_2d_is_that_of_the_heatmaps():
    torch.manual_seed(0)
    lifters = [PSJNetLifter(8, encoder_channels=8, refine_uv=refine) for refine in (True, False)]
    lifters[1].load_state_dict(lifters[0].state_dict())
    seen = found(dtype=torch.float32)
    refined, kept = (lifter.eval()(seen)[0] for lifter in lifters)
    assert torch.equal(kept[..., :2], seen.uv)
    assert torch.equal(kept[..., 2], refined[..., 2])
    assert not torch.equal(kept, refined)


def test_psjnet_is_well_under_100_lines():
    source = Path(psjnet.__file__).read_text()
    texts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr)]
    prose = {i for node in texts for i in range(node.lineno, node.end_lineno + 1)
             if isinstance(node.value, ast.Constant)}  # fmt: skip
    lines = enumerate(source.splitlines(), start=1)
    assert sum(i not in prose and line.strip() != "" for i, line in lines) < 80


def hope_parameters(nodes, in_channels, out_channels, base=4):
    """Count the parameters of the published graph U-Net, without those of the unused adjacency."""
    widths = [in_channels, *(base * 2**level for level in range(len(nodes) - 1))]
    levels = list(pairwise(nodes))
    pools = sum(fine * coarse + coarse + coarse * fine + fine for fine, coarse in levels)
    down = sum(i * o + o for i, o in pairwise(widths))
    up = sum(2 * i * o + o for o, i in pairwise([out_channels, *widths[1:]]))
    bottleneck = 2 * 20 * widths[-1] + 20 + widths[-1]
    return sum(n * n for n in nodes[:-1]) + pools + down + bottleneck + up


def test_parameters_of_hopenet():
    """13,400 for 29 nodes as in the notes (decision 9); the same formula for a hand."""
    published = (29, 15, 7, 4, 2, 1)
    graph = AdaptiveGraphUNet(2, 3, Skeleton.edgeless(29), nodes=published)
    assert count(graph) == hope_parameters(published, 2, 3) == 13_400
    nodes = (21, 11, 6, 3, 2, 1)
    assert count(baselines.HopeNetLifter()) == hope_parameters(nodes, 2, 3) == 12_346
    encoder = 1_254_464 + (42 - 32) * (256 * 9 + 2)  # Table 1's, for 21 joints instead of 16
    with_features = baselines.HopeNetLifter(256)
    assert count(with_features) == hope_parameters(nodes, 4, 3) + encoder


def test_parameter_counts():
    encoder = [256 * 256 * 9 * 2 + 2 * 2 * 256]  # two convolutions with batch norm
    for outputs in (16 * 2, 21 * 3):
        encoder.append(encoder[0] + 256 * outputs * 9 + 2 * outputs)
    assert encoder[1] == 1_254_464
    lifter = PSJNetLifter()
    graphs = count(lifter.branches) + count(lifter.merge)
    assert count(lifter) == 4 * encoder[1] + encoder[2] + graphs
    assert graphs < 60_000
    regression = [128 * 16 * 512 + 512, 512 * 512 + 512, 512 * 21 + 21]
    regress = baselines.CaiLifter().regress
    assert sum(count(layer) for layer in regress if isinstance(layer, nn.Linear)) == sum(regression)


@pytest.mark.slow
def test_hrnet_has_the_published_number_of_parameters():
    assert count(HeatmapGenerator()) == pytest.approx(28.54e6, abs=5e3)


@pytest.mark.parametrize("method", ["psjnet", "hopenet_features", "cai"])
def test_a_light_backbone_carries_the_whole_net(method):
    options = {"backbone": "lcnet_050", "image_size": SIZE, "encoder_channels": 4}
    model = build(Settings(method=method, **options)).train()
    out = model(torch.randint(256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8))
    assert model.generator.feature_channels == 64
    assert out.pose.shape == (BATCH, 21, 3)
    out.pose[..., 2].sum().backward()
    reached = [n for n, p in model.generator.named_parameters() if p.grad is not None]
    assert any(name.startswith("backbone.body.") for name in reached)


def test_literal_ensemble_reads_64_hypotheses_and_16_features(tiny):
    lifter = build(settings("psjnet_literal")).lifter
    assert isinstance(lifter.merge, HypothesisGraphMerger)
    assert lifter.merge.unet.nodes[0] == 64 + 16
    assert (lifter.merge_encode.num_joints, lifter.merge_encode.out_channels) == (16, 3)


def test_plain_ensemble_removes_no_joints(tiny):
    lifter = build(settings("ensemble")).lifter
    assert lifter.split.removal.keep_mask.all()
    assert lifter.branch_poses(found(dtype=torch.float32)).shape == (BATCH, 4, 21, 3)


def test_features_as_nodes_keep_the_branches_apart():
    removal = RemovalSets.by_level(HAND)
    branches = baselines.FeatureNodes(removal)
    assert branches.unet.nodes[0] == 32
    x = torch.rand(2, 4, 16, 4, requires_grad=True)
    branches(x)[:, 1].sum().backward()
    assert (x.grad[:, 1] != 0).all()
    assert not x.grad[:, [0, 2, 3]].any()


def test_pose_machine_refines_by_stages():
    machine = baselines.PoseMachine(21, 3).eval()
    image = torch.randint(256, (1, 3, 64, 64), dtype=torch.uint8)
    maps, features = machine.all_stages(image)
    assert maps.shape == (3, 1, 21, 16, 16)
    assert features.shape == (1, 128, 16, 16)
    assert torch.equal(machine(image)[0], maps[-1])
    assert count(machine.trunk) > 7e6  # those of VGG


@pytest.mark.parametrize("method", METHODS)
def test_each_step_trains_only_its_parts(method, hands, tiny):
    model = build(settings(method))
    steps = METHODS[method].steps(model, SIZE)
    for number, step in steps.items():
        model.zero_grad()
        module = StepModule(model, step)
        loss, pose = module(hands)
        loss.backward()
        assert loss.isfinite()
        assert pose.shape[:2] == (BATCH, 21)
        wanted = {id(p) for part in step.parts for p in part.parameters()}
        assert {id(p) for p in model.parameters() if p.grad is not None} == wanted, number
    trained = {id(p) for step in steps.values() for part in step.parts for p in part.parameters()}
    assert trained == {id(p) for p in model.parameters()}


def test_frozen_parts_are_bit_identical(hands, tiny):
    model = build(settings("psjnet"))
    frozen = {
        2: "generator lifter.merge lifter.merge_encode",
        3: "generator lifter.branches lifter.encode",
    }
    for number, step in psjnet_steps(model, SIZE).items():
        before = {name: value.clone() for name, value in model.state_dict().items()}
        module = StepModule(model, step)
        trained = [p for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=0.1)
        module(hands)[0].backward()
        optimizer.step()
        fixed = tuple(f"{part}." for part in frozen.get(number, "generator").split())
        for name, value in model.state_dict().items():
            if name.startswith("lifter." if number == 1 else fixed):
                assert torch.equal(value, before[name]), (number, name)
            elif value.is_floating_point():
                assert not torch.equal(value, before[name]), (number, name)


def test_set_step_keeps_batch_norms_of_frozen_parts_in_eval_mode(tiny):
    model = build(settings("psjnet"))
    steps = psjnet_steps(model, SIZE)
    set_step(model.train(), steps[3])
    assert not model.generator.training
    assert not any(module.training for module in model.lifter.encode.modules())
    assert all(module.training for module in model.lifter.merge_encode.modules())
    assert [model.generator in step.parts for step in steps.values()] == [True] + 3 * [False]


def test_branches_get_no_gradient_from_the_ensemble_of_step_3(hands):
    lifter = PSJNetLifter(8, encoder_channels=8)  # nothing is frozen here
    seen, wanted = found(dtype=torch.float32), pose_target(hands, SIZE)
    psjnet_losses(lifter)[1](seen, wanted)[0].backward()
    assert all(p.grad is None for p in [*lifter.branches.parameters(), *lifter.encode.parameters()])


def test_loss_counts_pixels_of_a_crop_of_256(hands):
    target = pose_target(hands, SIZE)
    moved = {**hands, "uv_true": hands["uv_true"] + 1.0}  # 4 pixels of 256
    pose = torch.cat([normalize_uv(moved["uv_true"], SIZE), hands["d"][..., None]], dim=-1)
    error = to_pixels(pose) - target
    wanted = torch.tensor([4.0, 4.0, 0.0]).expand_as(error)
    torch.testing.assert_close(error, wanted, atol=1e-3, rtol=0)
    near = REACH * SIZE / 2**0.5  # each joint is off by so much in u and in v
    for reach, wanted in ((near - 1e-3, hands["visible"].sum()), (near + 1e-3, 0)):
        moved = {**hands, "uv_true": hands["uv_true"] + reach}
        uv = normalize_uv(moved["uv_true"], SIZE)
        assert hits_2d(uv, hands, SIZE) == (wanted, hands["visible"].sum())


def test_true_poses_lead_back_to_the_camera():
    from handgraph.datasets import SyntheticHands

    hands = SyntheticHands(4, image_size=64, progress=False).tensors
    pose = torch.cat([normalize_uv(hands["uv_true"], 64), hands["d"].unsqueeze(-1)], dim=-1)
    xyz = camera_space(pose, {**hands, "s": hands["s"].reshape(-1)}, 64)
    torch.testing.assert_close(xyz, hands["xyz"], atol=1e-5, rtol=0)  # metres


def test_depth_map_loss_by_hand(hands):
    hands = {name: value[:1] for name, value in hands.items()}
    hands["mask"] = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
    hands["mask"][0, 8, 12], hands["mask"][0, 8, 13] = 20, 33  # one of the two is read
    hands["mask"][0, 4, 4] = 5  # the left hand does not count
    hands["xyz"][0, HAND.index("wrist"), 2] = 0.5
    hands["depth"][0, 8, 12] = 0.56  # two keybones behind the wrist
    drawn = torch.zeros(1, 16, 16)
    drawn[0, 2, 3] = 0.5
    assert depth_map_loss(drawn, hands).item() == pytest.approx(1.5, abs=1e-5)


def test_cai_weights_depths_and_keeps_2d_positions(hands, tiny):
    model = build(settings("cai")).eval()
    step = cai_steps(model, SIZE)[2]
    seen = model.detect(hands["image"])
    loss, pose = step.loss(seen, hands)
    assert torch.equal(pose[..., :2], seen.uv)
    joints = nn.functional.smooth_l1_loss(pose[..., 2], hands["d"], reduction="sum") / BATCH
    drawn = depth_map_loss(model.lifter.regularizer(seen.heatmaps, pose[..., 2]), hands)
    torch.testing.assert_close(loss, DEPTH_WEIGHT * joints + drawn)


def test_pose_net_runs_on_images(hands):
    model = PoseNet(TinyGenerator(), PSJNetLifter(8, encoder_channels=8)).eval()
    pose, partial, heatmaps = model(hands["image"])
    assert heatmaps.shape == (BATCH, 21, 16, 16)
    assert torch.equal(pose, model.lifter(model.detect(hands["image"]))[0])
    assert partial.shape == (BATCH, 4, 16, 3)


def test_same_seed_same_weights_and_the_same_generator_for_all_methods(tiny):
    torch.manual_seed(5)
    first, again = build(settings("psjnet")), build(settings("psjnet"))
    other = build(settings("hopenet"))
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    for name, value in first.generator.state_dict().items():
        assert torch.equal(value, other.generator.state_dict()[name])
