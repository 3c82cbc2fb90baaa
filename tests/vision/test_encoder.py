"""Feature encoders: sizes of Table 1, channels of the joints, branches and ragged sets."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d, batch_norm, conv2d, relu
from torch.testing import assert_close

from handgraph import HAND, RemovalSets
from handgraph.nn import SubgraphMask, fold
from handgraph.testing import assert_compiles
from handgraph.vision import (
    BranchFeatureEncoder,
    FeatureEncoder,
    JointFeatureSampler,
    SharedFeatureEncoder,
)

LEVELS = RemovalSets.by_level(HAND)
RAGGED = RemovalSets(HAND, {"tips": "TIP", "palm": ["wrist", "MCP"], "two": ["thumb", "pinky_tip"]})


class Sampler(JointFeatureSampler):
    """Sampler with stored positions, so that it is called like the encoders."""

    def forward(self, features):
        uv = torch.linspace(0, 30, 42, dtype=features.dtype).view(1, 21, 2)
        return super().forward(features, uv.expand(features.shape[0], 21, 2))


def make(kind):
    return {
        "encoder": lambda: FeatureEncoder(8, 16, 2, hidden_channels=6),
        "signed": lambda: FeatureEncoder(8, 16, 2, hidden_channels=6, signed=True),
        "branch": lambda: BranchFeatureEncoder(8, 2, RAGGED, hidden_channels=6),
        "shared": lambda: SharedFeatureEncoder(8, 2, RAGGED, hidden_channels=6),
        "sampler": lambda: Sampler(8, 2),
    }[kind]()


KINDS = pytest.mark.parametrize("kind", ["encoder", "signed", "branch", "shared", "sampler"])


def trained(module):
    """Give batch norms statistics and affine parameters that differ from their initial values."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for value in (layer.running_mean, layer.weight.data, layer.bias.data):
                value.normal_()
            layer.running_var.uniform_(0.5, 2)
    return module.eval()


@pytest.mark.parametrize(
    ("joints", "channels", "parameters"),
    [(16, 2, 1_254_464), (16, 3, 1_291_360), (21, 3, 1_325_950)],
)
def test_parameters_of_table_1(joints, channels, parameters):
    encoder = FeatureEncoder(256, joints, channels)
    assert sum(p.numel() for p in encoder.parameters()) == parameters
    assert all(p.requires_grad for p in encoder.parameters())


def test_map_sizes_of_table_1():
    encoder, x, sizes = FeatureEncoder(256, 16, 2), torch.rand(1, 256, 64, 64), []
    for layer in encoder.layers:
        x = layer(x)
        if isinstance(layer, torch.nn.ReLU):
            sizes.append(list(x.shape[1:]))
    assert sizes == [[256, 32, 32], [256, 32, 32], [32, 32, 32]]


@pytest.mark.parametrize("signed", [False, True])
def test_equals_table_1_written_out(signed):
    encoder = trained(FeatureEncoder(8, 3, 2, hidden_channels=6, signed=signed))
    x = features = torch.randn(4, 8, 16, 16)
    convs = [m for m in encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert (len(convs), len(norms)) == ((3, 2) if signed else (3, 3))
    for i, conv in enumerate(convs):
        x = conv2d(x, conv.weight, conv.bias, stride=2 if i == 0 else 1, padding=1)
        if i < len(norms):
            n = norms[i]
            x = relu(batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias))
    pooled = adaptive_avg_pool2d(x, 1).reshape(4, 3, 2)  # joint-major: channel k D + d
    assert_close(encoder(features), pooled)
    assert (pooled < 0).any() == signed


def test_each_branch_has_its_own_encoder():
    encoder = trained(make("branch"))
    features = torch.randn(2, 8, 8, 8)
    out = encoder(features)
    assert out.shape == (2, 3, RAGGED.num_nodes, 2)
    for n, count in enumerate(RAGGED.num_kept.tolist()):
        assert_close(out[:, n, :count], encoder.branches[n](features))
        assert out[:, n, count:].eq(0).all()


@pytest.mark.parametrize("removal", [LEVELS, RAGGED], ids=["levels", "ragged"])
def test_a_shared_trunk_is_that_of_every_branch(removal):
    """The output equals that of separate encoders with the same first two layers."""
    shared = trained(SharedFeatureEncoder(8, 2, removal, hidden_channels=6))
    separate = BranchFeatureEncoder(8, 2, removal, hidden_channels=6).eval()
    rows = removal.num_kept.mul(2).tolist()
    for n, branch in enumerate(separate.branches):
        state = shared.layers.state_dict()
        for name in state:
            if name.split(".")[0] in ("6", "7") and state[name].dim():
                state[name] = state[name].split(rows)[n]
        branch.layers.load_state_dict(state)
    features = torch.randn(3, 8, 12, 12)
    assert_close(shared(features), separate(features))


def test_padding_has_no_output_and_no_gradient():
    for kind in ("branch", "shared"):
        encoder, features = make(kind), torch.randn(3, 8, 8, 8, requires_grad=True)
        out = encoder(features)
        padding = out[:, ~RAGGED.node_mask]
        assert padding.numel() > 0
        assert padding.eq(0).all()
        (gradient,) = torch.autograd.grad(padding.sum(), features, allow_unused=True)
        assert gradient is None or gradient.eq(0).all()


@KINDS
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_batch_sizes(kind, batch):
    encoder = make(kind).eval()
    features = torch.rand(batch, 8, 8, 8)
    out = encoder(features)
    assert out.shape[0] == batch
    for sample, expected in zip(features.split(1), out.split(1), strict=True):
        assert_close(encoder(sample), expected)


@KINDS
def test_every_parameter_has_a_gradient(kind):
    encoder = make(kind)
    out = encoder(torch.rand(4, 8, 8, 8))
    (out * torch.randn(out.shape)).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in encoder.parameters() if p.dim() > 1)
    assert all(p.grad is not None for p in encoder.parameters())


@KINDS
def test_nan_does_not_reach_other_samples(kind):
    encoder, features = make(kind).eval(), torch.rand(2, 8, 8, 8)
    features[1, :, 3] = torch.nan
    out = encoder(features)
    assert out[0].isfinite().all()
    assert out[1].isnan().any()


@KINDS
def test_reset_parameters_draws_anew(kind):
    encoder = make(kind)
    before = copy.deepcopy(encoder.state_dict())
    encoder.reset_parameters()
    weights = [name for name, value in before.items() if value.dim() > 1]
    assert weights
    assert all((encoder.state_dict()[name] != before[name]).any() for name in weights)


@KINDS
def test_copies_compute_the_same(kind):
    encoder, features = trained(make(kind)), torch.rand(2, 8, 8, 8)
    file = io.BytesIO()
    torch.save(encoder.state_dict(), file)
    file.seek(0)
    loaded = make(kind).eval()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder)), loaded):
        assert torch.equal(other(features), encoder(features))


@KINDS
def test_channels_last(kind):
    encoder, features = trained(make(kind)), torch.rand(2, 8, 8, 8)
    expected = encoder(features)
    encoder = encoder.to(memory_format=torch.channels_last)
    features = features.to(memory_format=torch.channels_last)
    assert_close(encoder(features), expected)


@KINDS
def test_bfloat16_autocast_trains(kind):
    encoder = make(kind)
    with torch.autocast("cpu", torch.bfloat16):
        out = encoder(torch.rand(4, 8, 8, 8))
    out.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


@KINDS
def test_compiles(kind):
    assert_compiles(trained(make(kind)), torch.rand(2, 8, 8, 8))


@KINDS
def test_exports_with_a_dynamic_batch(kind):
    encoder = trained(make(kind))
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(encoder, (torch.rand(3, 8, 8, 8),), dynamic_shapes=shapes)
    features = torch.rand(5, 8, 8, 8)
    assert_close(program.module()(features), encoder(features))


@pytest.mark.parametrize("kind", ["encoder", "signed", "branch", "shared"])
def test_batch_norms_fold(kind):
    encoder, features = trained(make(kind)), torch.randn(2, 8, 8, 8)
    folded = fold(encoder)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    assert_close(folded(features), encoder(features), atol=1e-4, rtol=1e-4)


def test_the_features_that_branches_and_merger_need():
    """PSJNet needs [B, N, K, 2] for the split pose and [B, J, 3] for the ensemble network."""
    features, uv = torch.rand(2, 8, 16, 16), 64 * torch.rand(2, 21, 2)
    split = SubgraphMask(LEVELS)
    for encoded in (
        BranchFeatureEncoder(8, 2, LEVELS, hidden_channels=6)(features),
        SharedFeatureEncoder(8, 2, LEVELS, hidden_channels=6)(features),
        split(JointFeatureSampler(8, 2)(features, uv)),
    ):
        assert torch.cat([split(uv), encoded], dim=-1).shape == (2, 4, 16, 4)
    assert FeatureEncoder(8, 21, 3, hidden_channels=6)(features).shape == (2, 21, 3)


@pytest.mark.parametrize(
    "features", [torch.rand(8, 4, 4), torch.rand(2, 7, 4, 4), torch.rand(2, 8, 0, 4)]
)
@KINDS
def test_wrong_features(kind, features):
    with pytest.raises(ValueError, match=r"expected features \[B, 8, h, w\], got"):
        make(kind)(features)


def test_wrong_sizes():
    for call in (
        lambda: FeatureEncoder(0, 16, 2),
        lambda: FeatureEncoder(8, 0, 2),
        lambda: FeatureEncoder(8, 16, 2, hidden_channels=0),
        lambda: BranchFeatureEncoder(8, 0, LEVELS),
        lambda: SharedFeatureEncoder(8, 2, LEVELS, hidden_channels=0),
        lambda: JointFeatureSampler(8, 0),
    ):
        with pytest.raises(ValueError, match="expected positive sizes"):
            call()
