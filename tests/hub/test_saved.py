"""Saved lifters: round trips are exact, and damaged folders are refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, snapshot_download
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from handgraph import COCO, HAND, INTERHAND, RHD, RemovalSets, Skeleton, __version__
from handgraph.hub import BranchLifter, KeypointLifter, SavedModule
from handgraph.hub.config import (
    FORMAT,
    removal_from_json,
    removal_to_json,
    skeleton_from_json,
    skeleton_to_json,
)
from handgraph.nn import fold

TOY = Skeleton(
    "toy hand", ("palm", "é", "tip"), (("palm", "é"), ("é", "tip")),
    groups={"ends": ("tip", "palm")}, aliases={"root": "palm"}, root="palm",
)  # fmt: skip
ZULU = RemovalSets(TOY, {"zulu": "tip", "alpha": "palm", "mike": ()})  # not in alphabetical order


@pytest.fixture
def saved(tmp_path):
    net = BranchLifter(2, 3, ZULU, channels=3, merger="gated")
    net.about = {"Units": {"input": "pixels"}, "Training": ["none"]}
    net.save_pretrained(tmp_path)
    return net, tmp_path


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """Forbid network access."""
    monkeypatch.setattr("handgraph.hub.saved.snapshot_download", None)


def edit(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config)
    path.write_text(json.dumps(config), encoding="utf-8")


# Round trips


@pytest.mark.parametrize("merger", ["graph", "gated", "mean"])
@pytest.mark.parametrize(
    "removal", [RemovalSets.by_level(HAND), ZULU, RemovalSets.none(COCO, 2)], ids=str
)
def test_branch_lifter_is_restored_exactly(tmp_path, removal, merger):
    net = BranchLifter(2, 3, removal, merger=merger, normalization="signed")
    with torch.no_grad():
        net.branches.adjacency[0].sub_(0.01)  # signed degrees change
    net.save_pretrained(tmp_path)
    again = BranchLifter.from_pretrained(tmp_path)
    x = torch.rand(4, removal.skeleton.num_joints, 2)
    assert torch.equal(again(x), net(x))
    assert again.removal == removal
    assert again.removal.skeleton.groups == removal.skeleton.groups
    assert again.config() == net.config()
    assert not again.training


@pytest.mark.parametrize("skeleton", [HAND, RHD, TOY], ids=lambda s: s.name)
def test_keypoint_lifter_is_restored_exactly(tmp_path, skeleton):
    net = KeypointLifter(skeleton, width=5)
    net.save_pretrained(tmp_path)
    again = KeypointLifter.from_pretrained(str(tmp_path))
    uv = 100 * torch.rand(4, skeleton.num_joints, 2)
    assert torch.equal(again(uv), net(uv))
    assert again.config() == net.config()


def test_saving_again_writes_the_same_bytes(saved, tmp_path_factory):
    _, folder = saved
    other = tmp_path_factory.mktemp("again")
    BranchLifter.from_pretrained(folder).save_pretrained(other)
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (other / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_is_kept(tmp_path, dtype):
    net = BranchLifter(2, 3, ZULU).to(dtype)
    net.save_pretrained(tmp_path)
    assert {p.dtype for p in BranchLifter.from_pretrained(tmp_path).parameters()} == {dtype}


def test_loaded_net_can_be_trained_on(saved):
    again = BranchLifter.from_pretrained(saved[1]).train()
    again(torch.rand(2, 3, 2)).square().sum().backward()
    assert all(p.grad is not None for p in again.branches.parameters())


def test_copies_can_be_saved(saved, tmp_path):
    twin = copy.deepcopy(saved[0])
    twin.save_pretrained(tmp_path / "copy")
    assert BranchLifter.from_pretrained(tmp_path / "copy").removal == ZULU


@pytest.mark.parametrize(
    "skeleton", [HAND, COCO, INTERHAND, TOY, RemovalSets.by_level(HAND).subgraph("PIP")], ids=str
)
def test_skeleton_survives_json(skeleton):
    again = skeleton_from_json(json.loads(json.dumps(skeleton_to_json(skeleton))))
    assert again == skeleton
    assert hash(again) == hash(skeleton)


@settings(max_examples=25)
@given(st.lists(st.sets(st.sampled_from(HAND.joints[1:])), min_size=1, max_size=5), st.randoms())
def test_removal_sets_survive_sorted_json(sets, random):
    """Branches keep their order even if a tool sorts the JSON keys."""
    names = [f"set {n}" for n in range(len(sets) + 1)]
    random.shuffle(names)
    removal = RemovalSets(HAND, dict(zip(names, [*sets, ()], strict=True)))
    text = json.dumps(removal_to_json(removal), sort_keys=True)
    assert removal_from_json(json.loads(text)) == removal


# Content of the folder


def test_folder_holds_three_files_and_no_pickle(saved):
    assert {path.name for path in saved[1].iterdir()} == {
        "README.md", "config.json", "model.safetensors",
    }  # fmt: skip


def test_config_has_the_version_of_the_writer(saved):
    config = json.loads((saved[1] / "config.json").read_text(encoding="utf-8"))
    assert (config["format"], config["handgraph"]) == (FORMAT, __version__)
    assert config["arguments"]["removal"]["sets"][0] == {"name": "zulu", "removes": ["tip"]}
    assert config["arguments"]["removal"]["skeleton"]["joints"] == ["palm", "é", "tip"]


def test_card_has_the_content_of_the_config(tmp_path):
    net = BranchLifter(2, 3, ZULU)
    net.about = {
        "Units": {"input": "pixels of the crop"},
        "Errors": {"small": {"mm": 8.1, "AUC": 0.7}, "severe": {"mm": 12.0, "AUC": 0.6}},
        "Limits": ["right hands"],
        "Words": "plain",
    }
    net.save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "handgraph"
    assert "hand-pose" in card.data.tags
    for line in (
        "# BranchLifter",
        "- input: pixels of the crop",
        "|  | mm | AUC |",
        "| small | 8.1 | 0.7 |",
        "- right hands",
        "plain",
        "- removal: zulu (tip); alpha (palm); mike ()",
        "- skeleton: toy hand (palm, é, tip)",
    ):
        assert line in card.text.splitlines()
    assert 'net = BranchLifter.from_pretrained("this folder, or its name on the Hub")' in card.text


def test_card_that_was_edited_is_left_alone(saved):
    net, folder = saved
    (folder / "README.md").write_text("mine", encoding="utf-8")
    with pytest.warns(UserWarning, match=r"README\.md was edited and is not overwritten"):
        net.save_pretrained(folder)
    assert (folder / "README.md").read_text(encoding="utf-8") == "mine"


def test_card_is_updated_when_saved_again(saved):
    net, folder = saved
    net.about["Errors"] = {"mm": 77.7}
    net.save_pretrained(folder)
    net.about["Errors"] = {"mm": 12.3}
    net.save_pretrained(folder)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "- mm: 12.3" in card
    assert "77.7" not in card


def test_a_folded_net_is_not_saved(tmp_path):
    net = fold(BranchLifter(2, 3, ZULU))
    with pytest.raises(ValueError, match="could not be loaded: save it before it is folded"):
        net.save_pretrained(tmp_path)


def test_arguments_must_be_defined(tmp_path):
    class Nameless(SavedModule):
        pass

    with pytest.raises(NotImplementedError, match=r"Nameless must define arguments\(\)"):
        Nameless().save_pretrained(tmp_path)


def test_about_must_be_json(tmp_path):
    net = BranchLifter(2, 3, ZULU)
    net.about = {"loss": float("nan")}
    with pytest.raises(ValueError, match="not JSON compliant"):
        net.save_pretrained(tmp_path)


# Errors


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 10**5, "\ufeff[]", "[1, 2]", "{}", '{"format": 1}']
)
def test_config_that_is_none_is_refused(saved, text):
    path = saved[1] / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json is not"):
        BranchLifter.from_pretrained(saved[1])


def test_binary_config_is_refused(saved):
    (saved[1] / "config.json").write_bytes(b"\x80\x04\x95")  # the start of a pickle
    with pytest.raises(ValueError, match=r"config\.json is not valid JSON"):
        BranchLifter.from_pretrained(saved[1])


def test_foreign_config_is_refused(saved):
    path = saved[1] / "config.json"
    path.write_text('{"model_type": "bert", "hidden_size": 768}', encoding="utf-8")
    with pytest.raises(ValueError, match="not the config of a lifter of handgraph"):
        BranchLifter.from_pretrained(saved[1])


def test_later_format_is_refused(saved):
    edit(saved[1], lambda c: c.update(format=FORMAT + 1, handgraph="9.9.0"))
    with pytest.raises(ValueError, match=rf"9\.9\.0 in format {FORMAT + 1}.* upgrade handgraph"):
        BranchLifter.from_pretrained(saved[1])


@pytest.mark.parametrize("number", [0, "1", None])
def test_invalid_format_raises(saved, number):
    edit(saved[1], lambda c: c.update(format=number))
    with pytest.raises(ValueError, match="not the config of a lifter of handgraph"):
        BranchLifter.from_pretrained(saved[1])


def test_later_version_in_a_known_format_loads(saved):
    edit(saved[1], lambda c: c.update(handgraph="9.9.0"))
    assert BranchLifter.from_pretrained(saved[1]).removal == ZULU


def test_other_class_is_refused(saved):
    with pytest.raises(ValueError, match="of a BranchLifter, expected a KeypointLifter"):
        KeypointLifter.from_pretrained(saved[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("removal"), "removal"),
        (lambda a: a.update(depth=3), "depth"),
        (lambda a: a.update(channels="8"), "channels|str"),
        (lambda a: a.update(merger="best"), "expected one of graph, gated, mean, got 'best'"),
        (lambda a: a.update(removal=3), "int"),
        (lambda a: a["removal"]["skeleton"].pop("joints"), "joints"),
        (lambda a: a["removal"]["sets"][0].update(removes=["toe"]), "no joint 'toe'"),
        (lambda a: a["removal"]["sets"][1].update(name="zulu"), "one name"),
    ],
)
def test_arguments_that_do_not_match_the_class_raise(saved, change, message):
    edit(saved[1], lambda c: change(c["arguments"]))
    with pytest.raises(ValueError, match=rf"config\.json: no BranchLifter .*({message})"):
        BranchLifter.from_pretrained(saved[1])


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("branches.squeeze.bias"),
        lambda state: state.update(extra=torch.ones(1)),
        lambda state: state.update({"branches.squeeze.weight": torch.ones(3, 20, 7)}),
        lambda state: state.update({"branches.squeeze.weight": torch.ones(3, 20, 6).long()}),
    ],
    ids=["missing", "left over", "other shape", "integers"],
)
def test_parameters_of_another_net_are_refused(saved, change):
    path = saved[1] / "model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path)
    with pytest.raises(ValueError, match=r"model\.safetensors does not hold the parameters"):
        BranchLifter.from_pretrained(saved[1])


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_damaged_parameters_are_refused(saved, cut):
    path = saved[1] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"model\.safetensors does not hold the parameters"):
        BranchLifter.from_pretrained(saved[1])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file_is_named(saved, name):
    (saved[1] / name).unlink()
    with pytest.raises(FileNotFoundError, match=name.replace(".", r"\.")):
        BranchLifter.from_pretrained(saved[1])


@pytest.mark.parametrize("kind", [Path, str])
def test_path_that_is_no_folder_is_named(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("handgraph.hub.saved.snapshot_download", snapshot_download)
    with pytest.raises(FileNotFoundError, match="no such folder: .*nothing"):
        BranchLifter.from_pretrained(kind(tmp_path / "nothing"))


def test_a_name_that_is_nowhere_is_no_folder(monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr("handgraph.hub.saved.snapshot_download", fail)
    with pytest.raises(FileNotFoundError, match="no such folder: nope, .* no network"):
        BranchLifter.from_pretrained("nope")


def test_a_file_that_changes_leaves_a_loaded_net_alone(saved):
    net, folder = saved
    loaded = BranchLifter.from_pretrained(folder)
    path = folder / "model.safetensors"
    with path.open("r+b") as file:  # in place, as another program would
        file.write(b"\0" * path.stat().st_size)
    for name, parameter in net.named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter)


class Gain(SavedModule):
    """Layer that multiplies each channel by a number."""

    def __init__(self, channels):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.rand(channels))

    def arguments(self):
        return {"channels": len(self.gain)}

    def forward(self, x):
        return x * self.gain


def test_a_config_that_asks_for_gigabytes_is_refused(tmp_path):
    Gain(3).save_pretrained(tmp_path)
    edit(tmp_path, lambda config: config["arguments"].update(channels=2**31))
    with pytest.raises(ValueError, match=r"asks for 8\.6 GB of parameters"):
        Gain.from_pretrained(tmp_path)


def test_custom_modules_can_be_saved(tmp_path):
    net = Gain(3)
    net.save_pretrained(tmp_path)
    again = Gain.from_pretrained(tmp_path)
    assert torch.equal(again.gain, net.gain)
    assert "- channels: 3" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_names_on_the_hub_are_downloaded(saved, monkeypatch):
    asked = []

    def download(name, **options):
        asked.append((name, options))
        return str(saved[1])

    monkeypatch.setattr("handgraph.hub.saved.snapshot_download", download)
    again = BranchLifter.from_pretrained("someone/lifter", revision="v1")
    assert again.removal == ZULU
    wanted = ["config.json", "model.safetensors"]
    assert asked == [("someone/lifter", {"allow_patterns": wanted, "revision": "v1"})]


def test_a_module_is_loaded_to_the_cpu_whatever_the_default_device_is(tmp_path):
    """Parameters come from a file, and buffers are made anew."""
    net = BranchLifter(2, 3, RemovalSets.by_level(HAND)).eval()
    net.save_pretrained(tmp_path)
    with torch.device("meta"):
        again = BranchLifter.from_pretrained(tmp_path)
    assert {x.device.type for x in (*again.parameters(), *again.buffers())} == {"cpu"}
    uv = torch.rand(2, 21, 2)
    assert torch.equal(again(uv), net(uv))


@pytest.mark.parametrize("kind", [str, Path])
def test_the_home_folder_may_be_a_tilde(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("HOME", str(tmp_path))
    net = KeypointLifter(width=4).eval()
    net.save_pretrained(kind("~/my nets"))
    assert (tmp_path / "my nets" / "config.json").is_file()
    uv = torch.rand(21, 2)
    assert torch.equal(KeypointLifter.from_pretrained(kind("~/my nets"))(uv), net(uv))
