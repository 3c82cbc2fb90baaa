"""The choice of an engine, and the report of ``explain``."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from threading import Barrier

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import HAND
from handgraph.nn import AdaptiveGraphUNet, NodePool, SubgraphMask, engines, fold
from handgraph.nn.engines import cpu, cuda
from handgraph.nn.engines.choice import CHOICES
from tests.nn.nets import EXACT, LEVELS, Custom, core, engines_of, pose, readable, unet

HAS_NUMBA = find_spec("numba") is not None
FASTEST = "numba" if HAS_NUMBA else "reference"


@pytest.mark.parametrize(
    ("choice", "engine", "refused"),
    [
        ("auto", FASTEST, set()),
        ("numba", FASTEST, set()),
        ("triton", "reference", {"triton"}),
        ("reference", "reference", set()),
        ("readable", "readable", {"all"}),
    ],
)
def test_each_choice(choice, engine, refused):
    net, x = unet(), pose(unet(), 3)
    with engines.use(choice):
        (found,) = engines.explain(net, x)
        assert_close(net(x), readable(net, x), **EXACT)
    assert (found.name, found.engine) == ("", engine)
    if HAS_NUMBA:
        assert set(found.refused) == refused


@pytest.mark.parametrize("name", ["", "cuda", "Numba", "none", None, 1])
def test_unknown_names_are_refused(name):
    with (
        pytest.raises(ValueError, match=r"expected one of auto, triton, numba.*got"),
        engines.use(name),
    ):
        pass


def test_choices_nest_and_end_with_an_exception():
    net, x = unet(), pose(unet(), 3)
    with engines.use("reference"):
        with pytest.raises(KeyError), engines.use("readable"):
            raise KeyError(*engines_of(net, x))
        assert engines_of(net, x) == ["reference"]
        with engines.use("auto"):
            assert engines_of(net, x) == [FASTEST]
    assert engines_of(net, x) == [FASTEST]


def test_a_choice_is_of_one_thread():
    """The ``use`` blocks of two threads overlap."""
    net, x, barrier = unet(), pose(unet(), 3), Barrier(2, timeout=60)

    def outer():
        with engines.use("readable"):
            barrier.wait()  # the other thread enters its block
            barrier.wait()  # both are inside their blocks
            during = engines_of(net, x)
            barrier.wait()
        barrier.wait()  # this thread has left its block, the other has not
        return during, engines_of(net, x)

    def inner():
        before = engines_of(net, x)
        barrier.wait()
        with engines.use("reference"):
            barrier.wait()
            during = engines_of(net, x)
            barrier.wait()
            barrier.wait()
            return before, during, engines_of(net, x)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(outer), pool.submit(inner)
        assert first.result() == (["readable"], [FASTEST])
        assert second.result() == ([FASTEST], ["reference"], ["reference"])
    assert engines_of(net, x) == [FASTEST]


def test_a_choice_is_of_one_task():
    net, x = unet(), pose(unet(), 3)

    async def task(choice):
        with engines.use(choice):
            await asyncio.sleep(0)
            found = engines_of(net, x)
            await asyncio.sleep(0)
        return found

    async def both():
        return await asyncio.gather(task("readable"), task("reference"))

    assert asyncio.run(both()) == [["readable"], ["reference"]]


def test_backward_needs_no_choice():
    """Backward may run in another thread, after the block."""
    net, x = unet(), pose(unet(), 3)
    with engines.use("reference"):
        out = net(x).square().sum()
    with engines.use("readable"):
        found = torch.autograd.grad(out, list(net.parameters()))
        expected = torch.autograd.grad(net(x).square().sum(), list(net.parameters()))
    assert_close(found, expected, **EXACT)


# explain


def test_parts_are_named_in_order():
    net, x = core(), torch.randn(3, 21, 2).double()
    assert [(c.name, c.engine) for c in engines.explain(net, x)] == [
        ("1", FASTEST),
        ("2.unet", FASTEST),
    ]
    net[2].unet.expand.register_forward_hook(lambda *_: None)
    assert engines.explain(net, x)[1] == ("2.unet", "readable", {"all": "expand has hooks"})


def test_folded_parts_are_named():
    net, x = fold(core()), torch.randn(3, 21, 2).double()
    assert engines.explain(net, x) == [("0", FASTEST, {})]
    apart = nn.Sequential(fold(unet(sizes=(2, 2))), nn.Identity(), fold(unet()))
    assert [c.name.split(".")[0] for c in engines.explain(apart, x)] == ["0", "2"]


@pytest.mark.parametrize("engine", ["numba", "triton"])
def test_refusals_of_folded_nets_name_the_reason(engine, monkeypatch):
    monkeypatch.setattr(cpu, "missing", lambda: "not here")
    monkeypatch.setattr(cuda, "refuses_here", lambda: "not here")
    net, x = fold(core()), torch.randn(3, 21, 2).double()
    with engines.use(engine):
        assert engines.explain(net, x) == [("0", "reference", {engine: "not here"})]
    shapeless = fold(nn.Sequential(NodePool(3, 2), NodePool(2, 3)))
    with engines.use(engine):
        (choice,) = engines.explain(shapeless, torch.randn(3, 5))
    assert choice.refused == {engine: "the plan takes inputs of several shapes"}


def test_a_readable_part_before_a_folded_one_is_not_forgotten():
    first = unet(sizes=(2, 2))
    first.expand.register_forward_hook(lambda *_: None)
    net, x = nn.Sequential(first, fold(unet())), torch.randn(3, 21, 2).double()
    with torch.no_grad():
        assert [c.engine for c in engines.explain(net, x)] == ["readable", FASTEST]


def test_a_net_that_is_called_twice_is_named_twice():
    net, x = unet(sizes=(2, 2)), torch.randn(3, 21, 2).double()
    assert [c.name for c in engines.explain(nn.Sequential(net, net), x)] == ["0", "0"]


def test_nothing_is_recorded_elsewhere():
    net, x = unet(), pose(unet(), 3)

    class Asks(nn.Module):
        def forward(self, x):
            self.inner = engines.explain(net, x)
            return net(x)

    asks = Asks()
    assert [c.name for c in engines.explain(asks, x)] == ["?"]
    assert [c.name for c in asks.inner] == [""]


def test_an_error_ends_the_record():
    net = unet()
    with pytest.raises(ValueError, match="expected"):
        engines.explain(net, torch.rand(3, 20, 2).double())
    assert engines_of(net, pose(net, 3)) == [FASTEST]


def test_keywords_are_passed_on():
    net, x = unet(), pose(unet(), 3)
    mask = torch.ones(3, 21, dtype=torch.bool)
    assert engines.explain(net, x=x, node_mask=mask)[0].engine == FASTEST


# Refusals


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    net, x = unet(dtype=dtype), pose(unet(dtype=dtype), 3)
    (choice,) = engines.explain(net, x)
    assert choice.engine == "reference"
    assert choice.refused["numba"] == f"the input is {dtype}"
    out = net(x)
    assert out.dtype == dtype
    exact = readable(unet(), x.double())
    assert_close(out.double(), exact, rtol=0.1, atol=0.1 * exact.abs().max().item())


@pytest.mark.parametrize("batch", [3, 300])
def test_autocast(batch):
    net, x = unet(dtype=torch.float32), pose(unet(dtype=torch.float32), batch)
    with torch.autocast("cpu", torch.bfloat16):
        (choice,) = engines.explain(net, x)
        out = net(x)
        expected = readable(net, x)
    assert (choice.engine, choice.refused["numba"]) == ("reference", "autocast is on")
    assert out.dtype == expected.dtype
    assert_close(out.float(), net(x), rtol=0.1, atol=0.3)
    out.float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_triton_refusal_names_the_reason():
    net, x = unet(), pose(unet(), 3)
    with engines.use("triton"):
        (choice,) = engines.explain(net, x)
    assert choice.engine == "reference"
    assert choice.refused["triton"]


# A module of a user


def test_a_module_with_a_plan_of_its_own():
    net, x = Custom().double(), torch.randn(4, 21, 2).double()
    assert engines.explain(net, x) == [("", FASTEST, {})]
    assert_close(net(x), readable(net, x), **EXACT)
    net.pool.register_forward_hook(lambda *_: None)
    assert engines.explain(net, x) == [("", "readable", {"all": "pool has hooks"})]


def test_a_module_whose_child_is_not_read():
    class Careless(Custom):
        reads = ()
        forward, lower = Custom.forward, Custom.lower

    net, x = Careless().double(), torch.randn(4, 21, 2).double()
    assert engines.explain(net, x)[0].refused == {"all": "pool is a NodePool"}


# Plans


def test_plans_keep_leading_dimensions():
    plan = SubgraphMask(LEVELS).lower()
    for lead in ((), (0,), (3,), (2, 3), (2, 0, 2)):
        x = torch.randn(*lead, 1, 21, 2).double()
        expected = SubgraphMask(LEVELS)(x.squeeze(-3))
        for choice in CHOICES:
            with engines.use(choice):
                assert_close(engines.run(plan, x), expected, rtol=0, atol=0)


def test_folded_nets_run_where_everything_is_to_be_readable():
    """A folded net has no readable form."""
    net, x = fold(AdaptiveGraphUNet(2, 3, HAND)), torch.rand(3, 21, 2)
    with engines.use("readable"):
        assert engines_of(net, x) == ["reference"]
