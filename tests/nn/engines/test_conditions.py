"""A net that is hooked, modified, transformed or traced runs its readable forward."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jacrev, jvp, vmap
from torch.nn.modules import module as hooks_of_all
from torch.nn.utils import parametrizations, parametrize, prune
from torch.testing import assert_close

from handgraph import HAND
from handgraph.nn import (
    AdaptiveGraphConv,
    AdaptiveGraphUNet,
    BranchLinear,
    GraphMerger,
    HypothesisGraphMerger,
    NodePool,
    engines,
)
from tests.nn.nets import (
    EXACT,
    LEVELS,
    RAGGED,
    engines_of,
    pose,
    readable,
    soft_mask,
    unet,
    values_and_gradients,
)

FAST = ["numba", "reference"]


def reason(net, *args):
    """Return why the readable forward runs, for a net with one plan."""
    (choice,) = engines.explain(net, *args)
    assert choice.engine == "readable"
    return choice.refused["all"]


def assert_readable(net, x, why, unlike=None):
    """Check that the readable forward runs for this reason, with its value and gradients."""
    assert reason(net, x) == why
    found = values_and_gradients(net, x)
    assert_close(found, readable(values_and_gradients, net, x), rtol=0, atol=0)
    if unlike is not None:
        assert not torch.allclose(found[0], unlike(x))


def assert_fast(net, x):
    """Check that an engine runs the net."""
    assert engines_of(net, x)[0] in FAST
    assert_close(values_and_gradients(net, x), readable(values_and_gradients, net, x), **EXACT)


# Hooks


def double(module, inputs, out=None):
    return doubled(inputs) if out is None else 2 * out


def doubled(tensors):
    return tuple(None if tensor is None else 2 * tensor for tensor in tensors)


HOOKS = {
    "register_forward_hook": (double, "has hooks"),
    "register_forward_pre_hook": (double, "has hooks"),
    "register_full_backward_hook": (lambda module, ins, outs: doubled(ins), "has backward hooks"),
    "register_full_backward_pre_hook": (lambda module, outs: doubled(outs), "has backward hooks"),
}


@pytest.mark.parametrize("register", HOOKS)
@pytest.mark.parametrize("name", ["squeeze", "decoder.0", "encoder.1.lin", "unpools.2"])
def test_hooks_of_a_child(register, name):
    net, x = unet(), pose(unet(), 3)
    before = values_and_gradients(net, x)
    hook, why = HOOKS[register]
    handle = getattr(net.get_submodule(name), register)(hook)
    assert_readable(net, x, f"{name} {why}")
    after = values_and_gradients(net, x)
    assert not all(map(torch.allclose, before, after))
    handle.remove()
    assert_fast(net, x)


@pytest.mark.parametrize(
    ("register", "hook"),
    [
        ("register_module_forward_pre_hook", lambda module, inputs: None),
        ("register_module_forward_hook", lambda module, inputs, out: None),
        ("register_module_full_backward_pre_hook", lambda module, outs: None),
        ("register_module_full_backward_hook", lambda module, ins, outs: None),
    ],
)
def test_hooks_of_all_modules(register, hook):
    net, x = unet(), pose(unet(), 3)
    handle = getattr(hooks_of_all, register)(hook)
    try:
        assert_readable(net, x, "global module hooks exist")
    finally:
        handle.remove()
    assert_fast(net, x)


def test_hooks_of_the_net_itself_see_what_they_should():
    """A plan does not include hooks."""
    net, x = unet(), pose(unet(), 3)
    expected = 2 * net(x)
    handle = net.register_forward_hook(double)
    assert engines_of(net, x)[0] in FAST
    assert torch.equal(net(x), expected)
    handle.remove()


@pytest.mark.parametrize("graph", [HAND, RAGGED], ids=["skeleton", "ragged"])
@pytest.mark.parametrize("masked", [False, True])
def test_every_child_is_called(graph, masked):
    net, seen = unet(graph), []
    for name, child in net.named_modules():
        if name and type(child) not in (nn.ModuleList, nn.ParameterList):
            child.register_forward_hook(lambda *_, name=name: seen.append(name))
    x = pose(net, 2)
    net(x, soft_mask(x) if masked else None)
    levels = len(net.encoder)
    assert len(seen) == len(set(seen)) == 6 * levels + 2  # a convolution has a linear layer
    assert seen[0] == "encoder.0.lin"
    assert seen[-1] == "decoder.0"


@pytest.mark.parametrize("merger", [GraphMerger, HypothesisGraphMerger])
def test_hooks_within_a_merger(merger):
    merge = merger(3, 3, LEVELS).double()
    y = torch.randn(2, 4, 16, 3, dtype=torch.float64)
    merge.unet.squeeze.register_forward_hook(double)
    assert_readable(merge, y, "squeeze has hooks")
    assert engines.explain(merge, y)[0].name == "unet"


# Pruned and parametrised


def test_pruned():
    net, x = unet(), pose(unet(), 3)
    before = copy.deepcopy(net)
    prune.l1_unstructured(net.squeeze, "weight", 0.5)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    for _ in range(3):
        assert_readable(net, x, "squeeze has hooks", unlike=before)
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    prune.remove(net.squeeze, "weight")
    assert_fast(net, x)
    assert net.squeeze.weight.eq(0).double().mean() == 0.5


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_old_norms_of_weights(name):
    net, x = unet().eval(), pose(unet(), 3)
    getattr(nn.utils, name)(net.encoder[1].lin)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    for _ in range(3):
        assert_readable(net, x, "encoder.1.lin has hooks")
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    net(x)
    getattr(nn.utils, f"remove_{name}")(net.encoder[1].lin)
    assert_fast(net, x)


class Symmetric(nn.Module):
    def forward(self, x):
        return (x + x.mT) / 2


@pytest.mark.parametrize(
    ("path", "name", "register", "why"),
    [
        (
            "squeeze",
            "weight",
            parametrizations.weight_norm,
            "squeeze is a ParametrizedBranchLinear",
        ),
        (
            "expand",
            "weight",
            parametrizations.spectral_norm,
            "expand is a ParametrizedBranchLinear",
        ),
        ("pools.1", "weight", parametrizations.orthogonal, "pools.1 is a ParametrizedNodePool"),
        ("adjacency", "0", Symmetric(), "adjacency is a ParametrizedParameterList"),
    ],
    ids=["weight norm", "spectral norm", "orthogonal", "symmetric"],
)
def test_parametrized(path, name, register, why):
    net, x = unet().eval(), pose(unet(), 3)
    before, child = copy.deepcopy(net), net.get_submodule(path)
    if isinstance(register, nn.Module):
        parametrize.register_parametrization(child, name, register)
    else:
        register(child, name)
    for _ in range(2):
        assert_readable(net, x, why, unlike=before if "weight_norm" not in str(register) else None)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(0.9)
    parametrize.remove_parametrizations(child, name)
    assert_fast(net, x)


# Replaced


class Loud(BranchLinear):
    def forward(self, x):
        return 3 * super().forward(x)


class LoudConv(AdaptiveGraphConv):
    def forward(self, x, adj, gate=None):
        return 3 * super().forward(x, adj, gate)


class LoudPool(NodePool):
    def forward(self, x):
        return 3 * super().forward(x)


REPLACED = {
    "a layer of PyTorch": ("squeeze", lambda: nn.Linear(64, 20), "squeeze is a Linear"),
    "a linear subclass": ("expand", lambda: Loud(20, 64, 1), "expand is a Loud"),
    "a convolution": (
        "encoder.1",
        lambda: LoudConv(4, 8, num_branches=1),
        "encoder.1 is a LoudConv",
    ),
    "a pooling": ("unpools.0", lambda: LoudPool(11, 21), "unpools.0 is a LoudPool"),
    "its linear layer": ("decoder.0.lin", lambda: nn.Linear(8, 5), "decoder.0.lin is a Linear"),
}


@pytest.mark.parametrize("case", REPLACED)
def test_replaced_by_another_class(case):
    path, make, why = REPLACED[case]
    net, x = unet(), pose(unet(), 3)
    before = copy.deepcopy(net)
    net.set_submodule(path, make().double())
    unlike = None if case == "its linear layer" else before
    assert_readable(net, x, why, unlike)


ERRORS = (ValueError, TypeError, RuntimeError, IndexError)


def agrees(net, *args):
    """Check that each engine returns the readable result or raises; return whether it returns."""
    try:
        expected = readable(values_and_gradients, net, *args)
    except ERRORS:
        expected = None
    for engine in FAST:
        with engines.use(engine):
            try:
                found = values_and_gradients(net, *args)
            except ERRORS:
                continue
        assert expected is not None, f"{engine} gave a result, and the readable form an error"
        assert_close(found, expected, **EXACT)
    return expected is not None


@torch.no_grad()
def make_degrees_differ(net):
    """Make signed and absolute degrees differ but stay positive."""
    for adjacency in net.adjacency:
        adjacency.abs_()
        adjacency[0, 0, 1] = -0.1


OTHER_SIZES = {
    "one channel": ("decoder.0.lin", lambda: BranchLinear(8, 1, num_branches=1)),
    "wider bottleneck": ("squeeze", lambda: BranchLinear(64, 30, num_branches=1)),
    "narrower bottleneck": ("squeeze", lambda: BranchLinear(64, 7, num_branches=1)),
    "no branches": ("squeeze", lambda: BranchLinear(64, 20)),
    "no branches behind": ("decoder.0.lin", lambda: BranchLinear(8, 3)),
    "fewer nodes": ("pools.0", lambda: NodePool(21, 5)),
    "a pooling without branches": ("pools.0", lambda: NodePool(21, 11)),
    "other channels": ("encoder.0", lambda: AdaptiveGraphConv(2, 7, num_branches=1)),
    "single precision": ("squeeze", lambda: BranchLinear(64, 20, num_branches=1).float()),
    "half precision": ("squeeze", lambda: BranchLinear(64, 20, num_branches=1).half()),
    "other degrees": (
        "decoder.0",
        lambda: AdaptiveGraphConv(8, 3, normalization="signed", num_branches=1),
    ),
}


@pytest.mark.parametrize("case", OTHER_SIZES)
def test_replaced_by_another_size(case):
    """Sizes are read from the tensors in each call."""
    path, make = OTHER_SIZES[case]
    net, x = unet(), pose(unet(), 16)
    make_degrees_differ(net)
    child = make()
    net.set_submodule(path, child if "precision" in case else child.double())
    agrees(net, x)


PARAMETERS = {
    "a bias for all channels": ("squeeze.bias", (1, 1)),
    "a bias without branches": ("squeeze.bias", (20,)),
    "a bias for each node": ("squeeze.bias", (1, 1, 20)),
    "a short bias": ("squeeze.bias", (1, 5)),
    "a pooling's bias for all nodes": ("pools.0.bias", (1, 1, 1)),
    "a pooling's bias for each channel": ("pools.0.bias", (1, 11, 4)),
    "a pooling's short bias": ("pools.0.bias", (1, 3, 1)),
    "a pooling's bias of two dimensions": ("pools.0.bias", (11, 1)),
    "a flat adjacency": ("adjacency.0", (21, 21)),
    "a long adjacency": ("adjacency.0", (1, 22, 21)),
    "a wide adjacency": ("adjacency.0", (1, 21, 22)),
    "a small adjacency": ("adjacency.1", (1, 7, 7)),
    "a flat weight": ("squeeze.weight", (20, 64)),
    "a short weight": ("squeeze.weight", (1, 20, 60)),
    "a weight with a dimension more": ("squeeze.weight", (1, 1, 20, 64)),
}


@pytest.mark.parametrize("case", PARAMETERS)
def test_parameters_of_other_shapes(case):
    name, shape = PARAMETERS[case]
    net, x = unet(), pose(unet(), 16)
    path, _, name = name.rpartition(".")
    setattr(net.get_submodule(path), name, nn.Parameter(torch.rand(shape).double()))
    agrees(net, x)


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("encoder.0", "normalization", "signed"),
        ("decoder.1", "normalization", "signed"),
        ("", "normalization", "signed"),
        ("encoder.0", "renormalize", False),
        ("", "renormalize", False),
    ],
)
def test_attributes_that_were_changed(path, name, value):
    net, x = unet(), pose(unet(), 16)
    make_degrees_differ(net)
    setattr(net.get_submodule(path), name, value)
    agrees(net, x, soft_mask(x))


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.encoder.append(copy.deepcopy(net.encoder[0])),
        lambda net: setattr(net, "encoder", net.encoder[::-1]),
        lambda net: setattr(net, "pools", net.pools[:-1]),
        lambda net: setattr(net, "adjacency", nn.ParameterList(net.adjacency[:3])),
    ],
    ids=["appended", "reversed", "a pooling less", "fewer graphs"],
)
def test_levels_that_do_not_fit(change):
    net = unet()
    change(net)
    assert not agrees(net, pose(net, 3))


def test_another_forward_of_an_instance():
    net, x = unet(), pose(unet(), 3)
    before, forward = copy.deepcopy(net), net.expand.forward
    net.expand.forward = lambda x: 3 * forward(x)
    assert_readable(net, x, "expand has a replaced forward", unlike=before)
    del net.expand.forward
    assert_fast(net, x)


class Halved(AdaptiveGraphUNet):
    def _graphs(self):
        return [graph / 2 + 1 for graph in super()._graphs()]


class Shifted(AdaptiveGraphUNet):
    def leave(self, out, there):
        return super().leave(out, there) + 1


@pytest.mark.parametrize("kind", [Halved, Shifted])
def test_a_subclass(kind):
    net, x = unet(), pose(unet(), 3)
    mine = kind(2, 3, HAND).double()
    mine.load_state_dict(net.state_dict())
    assert_readable(mine, x, f"{kind.__name__} does not define both forward and lower", unlike=net)


def test_a_child_more():
    net, x = unet(), pose(unet(), 3)
    net.extra = nn.Dropout()
    assert_readable(net, x, "extra is a Dropout")


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module .* returned a view:UserWarning")
@pytest.mark.parametrize(
    ("whole", "why"),
    [
        (False, "squeeze is a FSDPBranchLinear"),
        (True, "FSDPAdaptiveGraphUNet does not define both forward and lower"),
    ],
    ids=["layers", "net"],
)
def test_sharded(whole, why):
    distributed = pytest.importorskip("torch.distributed")
    if not (distributed.is_available() and distributed.is_gloo_available()):
        pytest.skip("this PyTorch has no gloo")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    net, x = unet(dtype=torch.float32), pose(unet(dtype=torch.float32), 3)
    expected = readable(values_and_gradients, net, x)
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        for child in (net.squeeze, *net.encoder, *net.pools, *net.decoder, *[net] * whole):
            fully_shard(child, mesh=mesh)
        assert reason(net, x) == why
        found = values_and_gradients_of_shards(net, x)
    finally:
        distributed.destroy_process_group()
    assert_close(found, list(expected))


def values_and_gradients_of_shards(net, x):
    x = x.detach().requires_grad_()
    out = net(x)
    out.backward(torch.linspace(-1, 1, out.numel()).view(out.shape).cos())
    gradients = [x.grad, *(parameter.grad for parameter in net.parameters())]
    return [out.detach(), *(getattr(g, "full_tensor", lambda g=g: g)() for g in gradients)]


# Transformed


class Called(nn.Module):
    """A function of a net as a module, for ``explain``."""

    def __init__(self, net, call):
        super().__init__()
        self.net = net
        self.call = call

    def forward(self, *inputs):
        return self.call(self.net, *inputs)


def loss(net, x):
    return net(x).square().sum()


TRANSFORMS = {
    "vmap": lambda net, x: vmap(net)(x),
    "grad": lambda net, x: grad(lambda x: loss(net, x))(x),
    "jacrev": lambda net, x: jacrev(net)(x[0]),
    "jvp": lambda net, x: jvp(net, (x,), (x.cos(),)),
    "gradients of each sample": lambda net, x: vmap(grad(lambda one: loss(net, one)))(x),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_torch_func(name):
    net, x = unet(nodes=(21, 4)), pose(unet(), 3)
    call = TRANSFORMS[name]
    assert reason(Called(net, call), x) == "torch.func transforms it"
    found = call(net, x)
    assert_close(found, readable(call, net, x), rtol=0, atol=0)
    x = x.requires_grad_()
    if "grad" in name:
        assert_close(found, torch.autograd.grad(loss(net, x), x)[0], **EXACT)
    if name == "vmap":
        assert_close(found, net(x), **EXACT)
    if name == "jacrev":
        assert_close(found, torch.autograd.functional.jacobian(net, x[0].detach()), **EXACT)


def test_torch_func_over_parameters():
    """Per-sample gradients, and an ensemble."""
    net, x = unet(), pose(unet(), 3)
    parameters = dict(net.named_parameters())

    def per_sample(net, x):
        def one(x, parameters):
            return functional_call(net, parameters, (x,)).square().sum()

        return vmap(grad(one, argnums=(0, 1)), in_dims=(0, None))(x, parameters)

    def ensemble(net, x):
        many = {name: torch.stack([p, 2 * p]).detach() for name, p in parameters.items()}
        return vmap(lambda parameters: functional_call(net, parameters, (x,)))(many)

    for call in (per_sample, ensemble):
        assert set(engines.explain(Called(net, call), x)[0].refused) == {"all"}
    each = per_sample(net, x)
    together = torch.autograd.grad(loss(net, x.requires_grad_()), [x, *net.parameters()])
    assert_close([each[0], *(g.sum(0) for g in each[1].values())], list(together), **EXACT)
    doubled = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in doubled.parameters():
            parameter.mul_(2)
    assert_close(ensemble(net, x), torch.stack([net(x), doubled(x)]), **EXACT)


def test_functional_call_alone_runs_an_engine():
    net, x = unet(), pose(unet(), 3)
    other = {name: 2 * parameter.detach() for name, parameter in net.named_parameters()}

    def call(net, x):
        return functional_call(net, other, (x,))

    assert engines_of(Called(net, call), x)[0] in FAST
    assert_close(call(net, x), readable(call, net, x), **EXACT)


def test_forward_mode():
    net, x = unet(), pose(unet(), 3)
    tangent = torch.randn_like(x)

    def slope(net, x):
        with forward_ad.dual_level():
            return forward_ad.unpack_dual(net(forward_ad.make_dual(x, tangent))).tangent

    assert reason(Called(net, slope), x) == "forward-mode derivatives are active"
    found = slope(net, x)
    assert_close(found, readable(slope, net, x), rtol=0, atol=0)
    step = 1e-6 * tangent
    assert_close(found, (net(x + step) - net(x - step)) / 2e-6, rtol=1e-5, atol=1e-6)


def test_forward_mode_over_a_parameter():
    net, x = unet(), pose(unet(), 3)

    def slope(net, x):
        weight = net.squeeze.weight
        with forward_ad.dual_level():
            other = {"squeeze.weight": forward_ad.make_dual(weight.detach(), weight.detach())}
            return forward_ad.unpack_dual(functional_call(net, other, (x,))).tangent

    assert reason(Called(net, slope), x) == "forward-mode derivatives are active"
    assert_close(slope(net, x), readable(slope, net, x), rtol=0, atol=0)


class Tagged(torch.Tensor):
    """A tensor subclass."""


def test_tensors_of_other_classes():
    net, x = unet(), pose(unet(), 3)
    assert reason(net, x.as_subclass(Tagged)) == "the input is a Tagged"
    assert type(net(x.as_subclass(Tagged))) is Tagged
    assert engines_of(net, nn.Parameter(x))[0] in FAST
    net.squeeze.weight = nn.Parameter(net.squeeze.weight.detach().as_subclass(Tagged))
    assert "squeeze.weight is a" in reason(net, x)


def test_shapes_without_values():
    net = unet(LEVELS, dtype=torch.float32)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.empty(7, 4, 16, 2, requires_grad=True)
        out = net(x)
        out.sum().backward()
    assert out.shape == (7, 4, 16, 3)
    assert x.grad.shape == x.shape
    on_meta = unet().to("meta")
    assert on_meta(torch.empty(7, 21, 2, device="meta").double()).shape == (7, 21, 3)


# Traced


@pytest.mark.parametrize("graph", [HAND, RAGGED], ids=["skeleton", "ragged"])
def test_exported(graph):
    net, shapes = unet(graph, channels=2).eval(), ({0: torch.export.Dim.DYNAMIC},)

    def export(net, x):
        return torch.export.export(net, (x,), dynamic_shapes=shapes).module()

    program = export(net, pose(net, 4))
    assert "handgraph" not in " ".join(str(node.target) for node in program.graph.nodes)
    for batch in (1, 7, 40):
        x = pose(net, batch)
        found = values_and_gradients(program, x)[:2]
        assert_close(found, readable(values_and_gradients, net, x)[:2], **EXACT)
    assert engines.explain(Called(net, lambda net, x: export(net, x)(x)), x) == []


def test_compiled():
    torch._dynamo.reset()
    net = unet(nodes=(21, 2), channels=2)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    x = pose(net, 4)
    assert engines.explain(compiled, x) == []  # the compiled program runs
    found = values_and_gradients(compiled, x)
    assert_close(found, readable(values_and_gradients, net, x), **EXACT)
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:`torch.jit.trace` is (deprecated|not supported)")
@pytest.mark.filterwarnings("ignore:`torch.jit.trace_method` is (deprecated|not supported)")
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean:Warning")
def test_traced():
    net, x = unet().eval(), pose(unet(), 3)

    def trace(net, x):
        return torch.jit.trace(net, x, check_trace=False)(x)

    with torch.no_grad():
        assert reason(Called(net, trace), x) == "torch.jit traces it"
        traced = torch.jit.trace(net, x, check_trace=False)
    assert "handgraph::" not in str(traced.inlined_graph)
    assert_close(values_and_gradients(traced, x)[:2], values_and_gradients(net, x)[:2], **EXACT)


# Tools


def test_summary_of_pyg():
    pytest.importorskip("tabulate")
    from torch_geometric.nn import summary

    net = unet(dtype=torch.float32)
    shown = summary(net, pose(net, 8), leaf_module=None, max_depth=5)
    for name, child in net.named_modules():
        if name and not isinstance(child, nn.ModuleList | nn.ParameterList):
            row = next(row for row in shown.splitlines() if f"({name.split('.')[-1]})" in row)
            assert "[8, 1," in row
    assert "[8, 21, 2]" in shown
    assert engines_of(net, pose(net, 8))[0] in FAST


def test_torchinfo():
    torchinfo = pytest.importorskip("torchinfo")
    net = unet(dtype=torch.float32)
    found = torchinfo.summary(net, input_data=pose(net, 8), depth=4, verbose=0)
    run = {row.var_name for row in found.summary_list if row.output_size}
    assert {"squeeze", "expand", "lin"} < run
    assert len([row for row in found.summary_list if row.output_size]) >= 6 * len(net.encoder) + 3


@pytest.mark.filterwarnings("ignore::UserWarning:captum")
def test_attribution_to_a_layer():
    attr = pytest.importorskip("captum.attr")
    net, x = unet(), pose(unet(), 4)

    def total(x):
        return net(x).sum(dim=(1, 2))

    found = attr.LayerActivation(total, net.squeeze).attribute(x)
    kept = []
    handle = net.squeeze.register_forward_hook(lambda *args: kept.append(args[2]))
    net(x)
    handle.remove()
    assert_close(found, kept[0], rtol=0, atol=0)
    gradients = attr.LayerGradientXActivation(total, net.encoder[0]).attribute(x)
    assert gradients.abs().sum() > 0
    assert_fast(net, x)
