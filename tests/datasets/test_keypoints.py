"""Keypoint files: values that are read, errors that name the cause, and random bytes."""

import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_geometric.data import InMemoryDataset
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv

from handgraph import COCO, HAND, INTERHAND, MANO, RHD, Skeleton
from handgraph.datasets import (
    FreiHANDKeypoints,
    HandView,
    KeypointDataset,
    NpzKeypoints,
    SyntheticHands,
)
from handgraph.geometry import keybone_length, project, relative_depth
from handgraph.transforms import NormalizeKeypoints

HANDS = SyntheticHands(6, seed=9, image_size=224, view=HandView(focal=(480 / 224,))).tensors
RECORDS = {"xyz": HANDS["xyz"].tolist(), "K": HANDS["K"].tolist(), "scale": HANDS["s"].tolist()}


def write_json(folder, **changes):
    for name, records in (RECORDS | changes).items():
        if records is not None:
            Path(folder, f"training_{name}.json").write_text(json.dumps(records))


def with_record(name, i, record):
    return {name: [*RECORDS[name][:i], record, *RECORDS[name][i + 1 :]]}


def with_xyz(i, joint, value):
    hand = [list(point) for point in RECORDS["xyz"][i]]
    hand[HAND.index(joint)] = value
    return with_record("xyz", i, hand)


def write_npz(folder, **arrays):
    path = Path(folder, "hands.npz")
    np.savez(path, **arrays)
    return path


def npz_arrays(order=HAND, **changes):
    """Return hands in another joint order, without the entries that are ``None``."""
    index = order.index_from(HAND)
    arrays = {
        "joints": np.array(order.joints),
        "xyz": HANDS["xyz"][:, index].numpy(),
        "uv": HANDS["uv"][:, index].numpy(),
        "K": HANDS["K"].numpy(),
        "visible": HANDS["visible"][:, index].numpy(),
        "cue": HANDS["cue"][:, index].numpy(),
        "confidence": HANDS["confidence"][:, index].numpy(),
    }
    return {name: value for name, value in (arrays | changes).items() if value is not None}


def test_freihand_by_value(tmp_path):
    write_json(tmp_path)
    hands = FreiHANDKeypoints(tmp_path)
    tensors = hands.tensors
    assert isinstance(hands, InMemoryDataset)
    assert len(hands) == 6
    for name in ("xyz", "K", "d", "s"):
        torch.testing.assert_close(tensors[name], HANDS[name], rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(tensors["uv"], HANDS["uv_true"], rtol=0, atol=1e-3)
    assert torch.equal(tensors["uv"], tensors["uv_true"])
    assert {value.dtype for value in tensors.values()} == {torch.float32}


def test_a_sample_is_as_those_of_the_simulator(tmp_path):
    write_json(tmp_path)
    hand, twin = FreiHANDKeypoints(tmp_path)[4], SyntheticHands(1)[0]
    for name in hand.keys():  # noqa: SIM118
        if name not in ("num_nodes", "x"):  # no score is given
            assert hand[name].shape == twin[name].shape
            assert hand[name].dtype == twin[name].dtype
    assert hand.num_nodes == 21
    assert torch.equal(hand.edge_index, HAND.edge_index)


def test_slices_transforms_and_batches(tmp_path):
    write_json(tmp_path)
    hands = FreiHANDKeypoints(tmp_path, transform=lambda hand: hand.update({"a": hand.s + 1}))
    assert torch.equal(hands[2:4].tensors["xyz"], HANDS["xyz"][2:4])
    assert torch.equal(hands[[5, 0]].tensors["uv"], hands.tensors["uv"][[5, 0]])
    (batch,) = DataLoader(hands, batch_size=6, num_workers=2)
    assert torch.equal(batch.xyz.reshape(6, 21, 3), HANDS["xyz"])
    assert batch.K.shape == (6, 3, 3)
    assert torch.equal(batch.a, hands.tensors["s"] + 1)


def test_can_be_pickled_and_copied(tmp_path):
    write_json(tmp_path)
    hands = pickle.loads(pickle.dumps(FreiHANDKeypoints(tmp_path)))
    assert torch.equal(hands[1].xyz, HANDS["xyz"][1])
    assert torch.equal(hands[1:3].copy()[1].xyz, HANDS["xyz"][2])


def test_one_record(tmp_path):
    write_json(tmp_path, **{name: records[:1] for name, records in RECORDS.items()})
    hands = FreiHANDKeypoints(tmp_path)
    assert len(hands) == 1
    assert torch.equal(hands[0].xyz, HANDS["xyz"][0])
    assert torch.equal(hands.tensors["xyz"], HANDS["xyz"][:1])


def test_without_a_scale_the_keybone_is_measured(tmp_path):
    write_json(tmp_path, scale=None)
    hands = FreiHANDKeypoints(tmp_path).tensors
    torch.testing.assert_close(hands["s"], keybone_length(HANDS["xyz"]), rtol=0, atol=0)


def test_scale_is_read_from_the_file(tmp_path):
    scale = [1.1 * s for s in RECORDS["scale"]]
    write_json(tmp_path, scale=scale)
    hands = FreiHANDKeypoints(tmp_path, "training").tensors
    torch.testing.assert_close(hands["s"], torch.tensor(scale), rtol=0, atol=0)
    d = relative_depth(HANDS["xyz"], torch.tensor(scale))
    torch.testing.assert_close(hands["d"], d, rtol=0, atol=0)


@pytest.mark.parametrize("missing", ["xyz", "K"])
def test_a_missing_file_is_an_error(tmp_path, missing):
    write_json(tmp_path, **{missing: None})
    with pytest.raises(FileNotFoundError, match=f"training_{missing}.json"):
        FreiHANDKeypoints(tmp_path)


SHORT = {name: records[:5] for name, records in RECORDS.items()}
WRONG_JSON = [
    ({"K": SHORT["K"]}, r"_K.json: expected 6 records as of xyz, got 5"),
    ({"scale": SHORT["scale"]}, r"_scale.json: expected 6 records as of xyz, got 5"),
    ({"xyz": []}, r"_xyz.json: expected at least one record, got an empty"),
    ({"xyz": {"a": 1}}, r"_xyz.json: expected a list, got {'a': 1}"),
    ({"K": "K"}, r"_K.json: expected a list, got 'K'"),
    ({"scale": 3}, r"_scale.json: expected a list, got 3"),
    (with_record("xyz", 2, [[0, 0, 1]] * 20), r"record 2: expected 21 rows of 3 numbers, got 60"),
    (
        with_record("xyz", 2, [[0, 1]] * 21),
        r"_xyz.json: record 2\[0\]: expected 3 numbers, got",
    ),
    (
        with_record("K", 1, [[1, 0], [0, 1]]),
        r"_K.json: record 1\[0\]: expected 3 numbers, got",
    ),
    (
        with_record("scale", 4, [0.03]),
        r"_scale.json: record 4: expected a finite number",
    ),
    (with_xyz(3, "wrist", [0.0, "0", 1.0]), r"_xyz.json: record 3\[0\]: .* got '0'"),
    (with_xyz(3, "wrist", [0.0, True, 1.0]), r"_xyz.json: record 3\[0\]: .* got True"),
    (with_xyz(3, "wrist", [0.0, None, 1.0]), r"_xyz.json: record 3\[0\]: .* got None"),
    (with_xyz(3, "wrist", [0.0, float("nan"), 1.0]), r"_xyz.json: record 3\[0\]: .* got nan"),
    (with_xyz(3, "wrist", [0.0, float("inf"), 1.0]), r"_xyz.json: record 3\[0\]: .* got inf"),
    (
        with_xyz(3, "wrist", [0.0, 10**400, 1.0]),
        r"_xyz.json: record 3\[0\]: expected a finite",
    ),
    (with_xyz(3, "wrist", [0.0, 1e300, 1.0]), r"record 3\[0\]: .* got 1e\+300"),
    (with_xyz(3, "pinky_tip", [0.0, 0.0, 0.0]), r"record 3: a joint is not in front of the camera"),
    (with_xyz(3, "pinky_tip", [1.0, 0.0, 1e-40]), r"record 3: a joint projects to infinity"),
    (with_record("K", 5, [[1, 0, 0], [0, 1, 0], [0, 0, 2]]), r"record 5: K is not a camera matrix"),
    (with_record("K", 5, [[0, 0, 0], [0, 1, 0], [0, 0, 1]]), r"record 5: K is not a camera matrix"),
    (
        with_record("K", 5, [[1, 0, 0], [0, -1, 0], [0, 0, 1]]),
        r"record 5: K is not a camera matrix",
    ),
    (with_record("scale", 0, 47.0), r"_scale.json: record 0: the scale is not the length"),
    (with_record("scale", 0, 0.001), r"_scale.json: record 0: the scale is not the length"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG_JSON)
def test_errors_name_the_invalid_json_field(tmp_path, changes, message):
    write_json(tmp_path, **changes)
    with pytest.raises(ValueError, match=f"training.*{message}"):
        FreiHANDKeypoints(tmp_path)


def test_a_keybone_without_length_is_an_error(tmp_path):
    wrist = RECORDS["xyz"][3][HAND.index("middle_mcp")]
    write_json(tmp_path, scale=None, **with_xyz(3, "middle_pip", wrist))
    with pytest.raises(ValueError, match="record 3: the keybone has no length"):
        FreiHANDKeypoints(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[1, 2", b"\xff\xfe\x00", b"[" * 100_000, b"1" * 5000])
def test_errors_name_the_file_that_is_not_json(tmp_path, content):
    write_json(tmp_path)
    (tmp_path / "training_K.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"training_K.json: expected JSON in UTF-8"):
        FreiHANDKeypoints(tmp_path)


@pytest.mark.parametrize("order", [HAND, RHD, MANO])
def test_npz_by_value_in_any_order(tmp_path, order):
    hands = NpzKeypoints(write_npz(tmp_path, **npz_arrays(order))).tensors
    for name in ("xyz", "uv", "K", "visible", "cue", "confidence", "d", "s"):
        torch.testing.assert_close(hands[name], HANDS[name], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(hands["uv_true"], HANDS["uv_true"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("how", ["joints", "skeleton", "order"])
def test_three_ways_to_name_the_joints(tmp_path, how):
    said = {"skeleton": np.array("RHD"), "joints": np.array(RHD.joints)}
    changes = {name: said[name] if name == how else None for name in said}
    path = write_npz(tmp_path, **npz_arrays(RHD, **changes))
    hands = NpzKeypoints(path, order=RHD if how == "order" else None)
    assert torch.equal(hands.tensors["xyz"], HANDS["xyz"])


def test_joints_are_converted_to_the_requested_order(tmp_path):
    hands = NpzKeypoints(write_npz(tmp_path, **npz_arrays(HAND)), RHD)
    assert torch.equal(hands.tensors["uv"], HANDS["uv"][:, RHD.index_from(HAND)])
    assert torch.equal(hands[0].edge_index, RHD.edge_index)
    torch.testing.assert_close(hands.tensors["d"], HANDS["d"][:, RHD.index_from(HAND)])


def test_joints_that_are_not_wanted_are_left_out(tmp_path):
    joints = ["elbow", *HAND.joints]
    uv = torch.cat([torch.zeros(6, 1, 2), HANDS["uv"]], dim=1).numpy()
    hands = NpzKeypoints(write_npz(tmp_path, joints=joints, uv=uv))
    assert torch.equal(hands.tensors["uv"], HANDS["uv"])
    assert set(hands.tensors) == {"uv"}


def test_other_names_of_joints_are_known(tmp_path):
    names = {"thumb_mcp": "thumb_cmc", "thumb_dip": "thumb_ip"}
    joints = [names.get(joint, joint) for joint in HAND.joints]
    hands = NpzKeypoints(write_npz(tmp_path, **npz_arrays(joints=joints)))
    assert torch.equal(hands.tensors["uv"], HANDS["uv"])


def test_one_camera_for_all(tmp_path):
    K = HANDS["K"][0].numpy()
    hands = NpzKeypoints(write_npz(tmp_path, **npz_arrays(K=K))).tensors
    assert torch.equal(hands["K"], HANDS["K"])


def test_pixels_are_projected_if_uv_is_not_given(tmp_path):
    hands = NpzKeypoints(write_npz(tmp_path, **npz_arrays(uv=None))).tensors
    assert torch.equal(hands["uv"], project(HANDS["xyz"], HANDS["K"]))
    alone = NpzKeypoints(write_npz(tmp_path, **npz_arrays(uv=None, K=None))).tensors
    assert "uv" not in alone


def test_integers_are_numbers(tmp_path):
    uv = np.arange(84).reshape(2, 21, 2)
    hands = NpzKeypoints(write_npz(tmp_path, joints=HAND.joints, uv=uv)).tensors
    assert torch.equal(hands["uv"], torch.arange(84.0).reshape(2, 21, 2))


def test_skeletons_without_a_keybone_have_no_relative_depth(tmp_path):
    path = write_npz(tmp_path, skeleton="COCO", xyz=np.ones((3, 17, 3)))
    assert set(NpzKeypoints(path, COCO).tensors) == {"xyz"}


ONE = np.ones((6, 21, 2))
WRONG_NPZ = [
    (npz_arrays(joints=None), ValueError, "argument order, got none"),
    (npz_arrays(skeleton="HAND"), ValueError, "argument order, got joints, skeleton"),
    (npz_arrays(joints=None, skeleton="FOOT"), ValueError, "unknown skeleton 'FOOT'; .* MANO"),
    (npz_arrays(joints=None, skeleton=INTERHAND.name), ValueError, "INTERHAND lacks joints of"),
    (npz_arrays(joints=HAND.joints[:20]), ValueError, "lacks joints of HAND: pinky_tip"),
    (npz_arrays(joints=["wrist"] * 21), ValueError, "joints: .* 'wrist' is used twice"),
    (npz_arrays(joints=[]), ValueError, "joints: expected a list of names, got float64"),
    (npz_arrays(joints=np.arange(21)), ValueError, "joints: expected a list of names, got int64"),
    (npz_arrays(joints="wrist"), ValueError, "joints: expected a list of names"),
    (npz_arrays(joints=["elbow", *HAND.joints]), ValueError, "uv: expected the 22 joints"),
    (npz_arrays(xyz=None, uv=None), ValueError, "expected uv or xyz, got K, visible"),
    (npz_arrays(pose=ONE), ValueError, "unknown entry pose; known are uv, xyz"),
    (npz_arrays(uv=ONE[:5]), ValueError, r"expected xyz of shape \[5, 21, 3\], got \[6"),
    (npz_arrays(uv=ONE[..., :1]), ValueError, r"expected uv of shape \[6, 21, 2\], got"),
    (npz_arrays(uv=ONE[0, 0]), ValueError, r"uv: expected the 21 joints .* got shape \[2\]"),
    (npz_arrays(K=np.eye(2)), ValueError, r"expected K of shape \[6, 3, 3\], got \[6, 2, 2\]"),
    (npz_arrays(K=np.ones(3)), ValueError, r"expected K of shape \[6, 3, 3\], got \[3\]"),
    (npz_arrays(K=np.zeros((3, 3))), ValueError, "record 0: K is not a camera matrix"),
    (npz_arrays(uv=ONE * np.inf), ValueError, "record 0: uv is not finite"),
    (npz_arrays(uv=ONE > 0), TypeError, "uv to be real numbers, got torch.bool"),
    (npz_arrays(uv=ONE * 1j), TypeError, "uv as a tensor or an array of numbers, got complex128"),
    (npz_arrays(uv=ONE.astype(str)), TypeError, "uv as a tensor or an array of numbers, got <U32"),
    (npz_arrays(uv=np.array(1.0)), TypeError, r"array of numbers, got float64 of \[\]"),
    (npz_arrays(visible=ONE[..., 0]), TypeError, "visible to be bool, got torch.float64"),
    (npz_arrays(xyz=-HANDS["xyz"].numpy()), ValueError, "record 0: a joint is not in front"),
    ({"joints": HAND.joints, "uv": ONE[:0]}, ValueError, "at least one record, got none"),
    (npz_arrays(uv=np.array([[{}]])), ValueError, "not an .npz file of plain arrays"),
]


@pytest.mark.parametrize(("arrays", "error", "message"), WRONG_NPZ)
def test_errors_name_the_invalid_npz_entry(tmp_path, arrays, error, message):
    with pytest.raises(error, match=rf"hands.npz: .*{message}"):
        NpzKeypoints(write_npz(tmp_path, **arrays))


def test_two_orders_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="argument order, got joints, order"):
        NpzKeypoints(write_npz(tmp_path, **npz_arrays()), order=HAND)


class Bomb:
    """Object that reports when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("kind", ["pickle", "npy", "npz"])
def test_npz_files_are_not_unpickled(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hands.npz"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.array([Bomb()]), allow_pickle=True)
    else:
        np.savez(path, **npz_arrays(uv=np.array([Bomb()])))
    with pytest.raises(ValueError, match="not an .npz file of plain arrays"):
        NpzKeypoints(path)
    assert not Path("exploded").exists()


def test_a_single_array_is_no_npz(tmp_path):
    np.save(tmp_path / "uv.npy", ONE)
    with pytest.raises(ValueError, match=r"uv.npy: not an .npz file .* a single array"):
        NpzKeypoints(tmp_path / "uv.npy")
    with pytest.raises(FileNotFoundError):
        NpzKeypoints(tmp_path / "none.npz")


def test_numbers_that_are_no_characters_are_no_names(tmp_path):
    joints = np.full(21, 0x7FFFFFFF, dtype=np.uint32).view("<U1")
    with pytest.raises(ValueError, match="joints: not text"):
        NpzKeypoints(write_npz(tmp_path, **npz_arrays(joints=joints)))


def test_tensors_become_a_dataset():
    finger = Skeleton("finger", ["mcp", "pip"], [("mcp", "pip")], root="mcp")
    hands = KeypointDataset({"uv": torch.arange(12.0).reshape(3, 2, 2)}, finger)
    assert hands[2].uv.tolist() == [[8.0, 9.0], [10.0, 11.0]]
    assert hands[2].edge_index.tolist() == [[1, 0], [0, 1]]
    assert repr(hands) == "KeypointDataset(3)"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)
numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers()
near_misses = {
    "xyz": st.lists(st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=21, max_size=21)),
    "K": st.lists(st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=3, max_size=3)),
    "scale": st.lists(numbers, max_size=8),
}
fuzz = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


def read_or_refuse(read):
    """Return a dataset of finite numbers, or check that the error is one of handgraph's."""
    try:
        tensors = read().tensors
    except (ValueError, TypeError) as error:
        assert "training_" in str(error) or "hands.npz" in str(error)  # noqa: PT017
        return
    assert all(values.isfinite().all() for values in tensors.values())


@fuzz
@given(content=st.binary(max_size=60), name=st.sampled_from(sorted(RECORDS)))
def test_random_bytes_as_json(tmp_path, content, name):
    write_json(tmp_path)
    (tmp_path / f"training_{name}.json").write_bytes(content)
    read_or_refuse(lambda: FreiHANDKeypoints(tmp_path))


@fuzz
@given(data=st.data(), name=st.sampled_from(sorted(RECORDS)))
def test_random_structures_as_json(tmp_path, data, name):
    write_json(tmp_path)
    content = json.dumps(data.draw(json_values | near_misses[name]))
    (tmp_path / f"training_{name}.json").write_text(content)
    read_or_refuse(lambda: FreiHANDKeypoints(tmp_path))


@fuzz
@given(data=st.data(), name=st.sampled_from(sorted(RECORDS)), i=st.integers(0, 5))
def test_random_records_as_json(tmp_path, data, name, i):
    write_json(tmp_path, **with_record(name, i, data.draw(json_values | numbers)))
    read_or_refuse(lambda: FreiHANDKeypoints(tmp_path))


@fuzz
@given(content=st.binary(max_size=200), prefix=st.sampled_from([b"", b"PK\x03\x04", b"\x93NUMPY"]))
def test_random_bytes_as_npz(tmp_path, content, prefix):
    (tmp_path / "hands.npz").write_bytes(prefix + content)
    read_or_refuse(lambda: NpzKeypoints(tmp_path / "hands.npz"))


@fuzz
@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1))
def test_damaged_npz(tmp_path, flips):
    file = io.BytesIO()
    np.savez(file, joints=HAND.joints, uv=ONE[:1], visible=np.ones((1, 21), dtype=bool))
    content = bytearray(file.getvalue())
    for position, value in flips:
        content[position % len(content)] = value
    (tmp_path / "hands.npz").write_bytes(content)
    read_or_refuse(lambda: NpzKeypoints(tmp_path / "hands.npz"))


@fuzz
@given(data=st.data(), name=st.sampled_from(["joints", "skeleton", "uv", "K", "visible", "cue"]))
def test_random_arrays_as_npz(tmp_path, data, name):
    dtype = data.draw(st.sampled_from(["f8", "f2", "i4", "u1", "?", "U3", "S3", "c8", "M8[s]"]))
    shape = data.draw(st.lists(st.sampled_from([0, 1, 2, 3, 6, 21]), max_size=4))
    array = (
        np.zeros(shape, dtype=dtype) if data.draw(st.booleans()) else np.ones(shape).astype(dtype)
    )
    path = write_npz(tmp_path, **npz_arrays(**{name: array}))
    read_or_refuse(lambda: NpzKeypoints(path))


@pytest.mark.parametrize("value", [87.0, -0.1])
def test_confidence_is_a_probability(value):
    tensors = {"uv": torch.rand(3, 21, 2), "confidence": torch.full((3, 21, 1), value)}
    with pytest.raises(ValueError, match=r"record 0: confidence is not in \[0, 1\]"):
        KeypointDataset(tensors)


def test_x_has_the_transformed_uv_and_the_confidence():
    tensors = {"uv": 200 * torch.rand(3, 21, 2), "confidence": torch.rand(3, 21, 1)}
    hands = KeypointDataset(tensors, transform=NormalizeKeypoints(256))
    assert hands.num_node_features == 3
    expected = torch.cat([hands[1].uv, tensors["confidence"][1]], dim=-1)
    assert torch.equal(hands[1].x, expected)
    assert hands[1].x[:, :2].abs().max() <= 1
    batch = next(iter(DataLoader(hands, batch_size=3)))
    assert GCNConv(hands.num_node_features, 4)(batch.x, batch.edge_index).shape == (63, 4)
    without = KeypointDataset({"xyz": torch.rand(3, 21, 3)})[0]
    assert "x" not in without


@pytest.mark.parametrize("index", [1, slice(1, 3)])
def test_simulated_hands_have_x(index):
    hands = SyntheticHands(4, progress=False)
    for hand in [hands[index]] if index == 1 else list(hands[index]):
        assert torch.equal(hand.x, torch.cat([hand.uv, hand.confidence], dim=-1))
    batch = next(iter(DataLoader(hands, batch_size=4)))
    assert batch.x.shape == (84, hands.num_node_features)


def test_zeros_that_would_fill_the_memory_are_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("handgraph.datasets.archive.MAX_BYTES", 10**6)
    path = tmp_path / "hands.npz"
    np.savez_compressed(path, uv=np.zeros((10**4, 21, 2)))
    assert path.stat().st_size < 10**4
    with pytest.raises(ValueError, match=r"its arrays take 0\.0 GB"):
        NpzKeypoints(path, order=HAND)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_no_archive(tmp_path):
    os.mkfifo(tmp_path / "hands.npz")
    with pytest.raises(ValueError, match="it is not a regular file"):
        NpzKeypoints(tmp_path / "hands.npz", order=HAND)
