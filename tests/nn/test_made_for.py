"""State dicts contain the joints of a module and their order."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from handgraph import HAND, RHD, RemovalSets
from handgraph.nn import (
    AdaptiveGraphUNet,
    AGCNConv,
    GraphMerger,
    HypothesisGraphMerger,
    ModulatedGraphConv,
    PerBranch,
    SemGraphConv,
    SubgraphMask,
    fold,
)
from handgraph.nn.made_for import KEY
from handgraph.vision import BranchFeatureEncoder, SharedFeatureEncoder
from tests.nn.nets import LEVELS

BACKWARDS = RemovalSets(HAND, {level: level for level in reversed(LEVELS.names)})
RHD_LEVELS = RemovalSets.by_level(RHD)


def core(removal):
    return nn.Sequential(
        SubgraphMask(removal), AdaptiveGraphUNet(2, 3, removal), GraphMerger(3, 3, removal)
    )


ON_SETS = {
    "core": core,
    "folded": lambda removal: fold(core(removal)),
    "mask": SubgraphMask,
    "net": lambda removal: AdaptiveGraphUNet(2, 3, removal),
    "merger": lambda removal: GraphMerger(3, 3, removal),
    "literal merger": lambda removal: HypothesisGraphMerger(3, 3, removal),
    "branches": lambda removal: PerBranch(removal, lambda s: nn.Linear(2, 3)),
    "encoder": lambda removal: BranchFeatureEncoder(4, 2, removal, hidden_channels=4),
    "shared encoder": lambda removal: SharedFeatureEncoder(4, 2, removal, hidden_channels=4),
}
ON_JOINTS = {
    "net": lambda skeleton: AdaptiveGraphUNet(2, 3, skeleton),
    "AGCN": lambda skeleton: AGCNConv(2, 4, skeleton),
    "modulated": lambda skeleton: ModulatedGraphConv(2, 4, skeleton),
    "semantic": lambda skeleton: SemGraphConv(2, 4, skeleton),
}


@pytest.mark.parametrize("other", [BACKWARDS, RHD_LEVELS], ids=["other sets", "other joints"])
@pytest.mark.parametrize("make", ON_SETS.values(), ids=ON_SETS)
def test_a_state_of_other_sets_is_refused(make, other):
    with pytest.raises(RuntimeError, match="expected a state for .*, got one for"):
        make(LEVELS).load_state_dict(make(other).state_dict())
    make(LEVELS).load_state_dict(make(LEVELS).state_dict())


@pytest.mark.parametrize("make", ON_JOINTS.values(), ids=ON_JOINTS)
def test_a_state_of_joints_in_another_order_is_refused(make):
    with pytest.raises(RuntimeError, match='expected a state for {"joints": \\["wrist", "thumb'):
        make(HAND).load_state_dict(make(RHD).state_dict())


def test_names_of_sets_do_not_count():
    other = RemovalSets(HAND, {f"set {n}": level for n, level in enumerate(LEVELS.names)})
    core(LEVELS).load_state_dict(core(other).state_dict())


def test_a_state_without_joints_is_loaded():
    net, other = core(LEVELS), core(BACKWARDS)
    state = {name: value for name, value in net.state_dict().items() if not name.endswith(KEY)}
    other.load_state_dict(state)
    assert_close(dict(other.named_parameters()), dict(net.named_parameters()), rtol=0, atol=0)
    assert set(state) == {name for name, _ in net.named_parameters()}


def test_states_are_read_as_weights_only(tmp_path):
    torch.save(core(LEVELS).state_dict(), tmp_path / "state.pt")
    core(LEVELS).load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
