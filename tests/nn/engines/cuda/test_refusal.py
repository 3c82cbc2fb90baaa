"""Reasons for which the Triton engine refuses a plan or a machine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from handgraph.nn.engines import cuda
from handgraph.nn.engines.cuda.refusal import _is_recent, refuses_here, refuses_input, refuses_plan
from handgraph.nn.plan import NodeMap, Scale, Select, Shape, Stage, Term

ONES = torch.ones(2, 3, 3)
HIDDEN = Stage((Term(0, NodeMap(ONES)),))
LAST = Stage((Term(1, NodeMap(ONES)),), relu=False)
SELECT = Term(0, Select(torch.tensor([[0, 1, 2], [2, 1, -1]]), 3))
SCALED = Stage((Term(1, Scale(torch.ones(2, 3, 5))),))
TOTAL = LAST._replace(bias=torch.ones(1, 4))
GIVEN = Shape(1, 3, 4)


@pytest.mark.parametrize(
    "plan",
    [
        (HIDDEN, LAST),
        (HIDDEN, TOTAL),
        (Stage((SELECT,), relu=False), LAST),
        (Stage((SELECT,), relu=False), HIDDEN, Stage((Term(2), Term(1)), torch.ones(1, 4), False)),
    ],
)
def test_taken(plan):
    assert refuses_plan(plan, GIVEN) is None


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        ((HIDDEN, SCALED, LAST), "nodes of single samples are masked"),
        ((HIDDEN, SCALED._replace(relu=False)), "nodes of single samples are masked"),
        ((HIDDEN,), "the last stage has a ReLU, or only selects nodes"),
        ((Stage((SELECT,), relu=False),), "the last stage has a ReLU, or only selects nodes"),
        ((HIDDEN, LAST._replace(terms=(SELECT, Term(1)))), "nodes are selected within the plan"),
        ((HIDDEN, LAST._replace(terms=(SELECT._replace(source=1),))), "nodes are selected"),
        ((Stage((SELECT,)), LAST), "nodes are selected within the plan"),
        ((HIDDEN, TOTAL, Stage((Term(1), Term(2)), relu=False)), "only some stages have branches"),
    ],
)
def test_refused(plan, why):
    assert refuses_plan(plan, GIVEN).startswith(why)
    assert isinstance(cuda.prepare(plan, GIVEN), str)


def test_size_of_matrices():
    def plan(nodes):
        return (Stage((Term(0, NodeMap(torch.ones(1, nodes, 2**7))),), relu=False),)

    given = Shape(1, 2**7, 2**3)  # including the identity over channels
    assert refuses_plan(plan(2**4), given) is None
    assert refuses_plan(plan(2**4 + 1), given) == f"a dense matrix would have {2**13 * 17} entries"


def test_a_plan_that_takes_several_sizes_is_not_kept():
    assert cuda.prepare((HIDDEN, LAST), None) == "the plan takes inputs of several shapes"


@pytest.mark.parametrize("other", [{"dtype": torch.bfloat16}, {"device": "meta"}])
def test_plan_and_input_are_alike(device, other):
    x = torch.ones(1, 3, 4, 2, device=device)
    assert refuses_input(x, [x, torch.ones(2, dtype=torch.long)]) is None
    assert refuses_input(x, [x.to(**other)]).startswith("plan and input have different")
    assert refuses_input(x.to("meta"), [x.to("meta")]) == "the input is on meta"


def test_transformed_inputs(device):
    seen = []

    def look(x):
        seen.append(refuses_input(x, [x]))
        return x

    torch.func.vmap(look)(torch.ones(1, 3, 4, 2, device=device))
    assert seen == ["torch.func transforms it"]


@pytest.mark.parametrize(("major", "hip", "taken"), [(7, None, 0), (8, None, 1), (9, "7.0", 0)])
def test_which_gpus_are_taken(monkeypatch, major, hip, taken):
    properties = SimpleNamespace(major=major)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert _is_recent.__wrapped__(torch.device("cuda")) is bool(taken)


def test_machines(monkeypatch):
    assert refuses_here() is None
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert refuses_here() == "no CUDA device is available"
    assert cuda.prepare((HIDDEN, LAST), GIVEN) == "no CUDA device is available"
