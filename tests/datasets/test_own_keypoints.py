"""Own keypoints as a dataset: arrays, missing joints, other entries of samples, and transforms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch_geometric.loader import DataLoader

from handgraph import HAND
from handgraph.datasets import KeypointDataset, NpzKeypoints, SyntheticHands
from handgraph.formats import read_h3wb

HANDS = SyntheticHands(6, seed=9, progress=False).tensors
NAMES = ("uv", "xyz", "K", "visible", "cue", "confidence", "s")


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f8", "f2"])
def test_arrays_are_as_good_as_tensors(dtype):
    twin = KeypointDataset({name: HANDS[name] for name in NAMES}).tensors
    arrays = {name: HANDS[name].numpy() for name in NAMES}
    arrays = {n: v.astype(v.dtype if v.dtype == bool else dtype) for n, v in arrays.items()}
    read = KeypointDataset(arrays).tensors
    assert read.keys() == twin.keys()
    far = {"rtol": 1e-2, "atol": 1e-2} if dtype == "f2" else {"rtol": 0, "atol": 0}
    for name in NAMES:
        assert_close(read[name], twin[name], **far)


def test_arrays_may_be_reversed_and_read_only():
    uv = HANDS["uv"].numpy()[::-1, :, ::-1]
    uv.flags.writeable = False
    assert torch.equal(KeypointDataset({"uv": uv}).tensors["uv"], HANDS["uv"].flip(0, 2))
    whole = KeypointDataset({"uv": np.arange(42, dtype=np.uint8).reshape(1, 21, 2)})
    assert whole[0].uv[20].tolist() == [40, 41]


def test_masked_entries_of_an_array_are_missing():
    mask = np.zeros((6, 21, 2), dtype=bool)
    mask[2, 5] = True
    hands = KeypointDataset({"uv": np.ma.masked_array(HANDS["uv"].numpy(), mask)})
    assert (~hands.tensors["found"]).nonzero().tolist() == [[2, 5]]
    xyz = np.ma.masked_array(HANDS["xyz"].numpy(), np.broadcast_to(mask[..., :1], (6, 21, 3)))
    with pytest.raises(ValueError, match="record 2: xyz is not finite"):
        KeypointDataset({"xyz": xyz})


def test_samples_have_no_gradient():
    """Workers of a loader cannot send tensors that are part of a graph."""
    uv = 2 * HANDS["uv"].clone().requires_grad_()
    assert not KeypointDataset({"uv": uv}, extra={"other": uv[:, 0]})[0].uv.requires_grad


def test_arrays_are_copied():
    uv = HANDS["uv"][:1].numpy().copy()
    hands = KeypointDataset({"uv": uv})
    uv[:] = 0
    assert torch.equal(hands[0].uv, HANDS["uv"][0])


@pytest.mark.parametrize("name", ["confidence", "cue"])
def test_one_channel_may_be_left_out(tmp_path, name):
    flat = {"uv": HANDS["uv"].numpy(), name: HANDS[name][..., 0].numpy()}
    hands = KeypointDataset(flat)
    assert torch.equal(hands.tensors[name], HANDS[name])
    assert hands[1].x.shape == (21, 3 if name == "confidence" else 2)
    np.savez(tmp_path / "hands.npz", **flat)
    hands = NpzKeypoints(tmp_path / "hands.npz", order=HAND)
    assert torch.equal(hands.tensors[name], HANDS[name])


@pytest.mark.parametrize("array", [False, True])
def test_nan_is_missing(array):
    """One NaN coordinate marks a joint as missing; the reference gives ``found`` instead."""
    lost = torch.rand(6, 21, generator=torch.Generator().manual_seed(0)) < 0.3
    lost[2, 3] = False
    uv, confidence = HANDS["uv"].clone(), HANDS["confidence"].clone()
    uv[lost] = torch.nan
    uv[2, 3, 0] = torch.nan
    lost[2, 3] = True
    confidence[lost] = torch.nan
    given = {"uv": uv, "confidence": confidence, "cue": HANDS["cue"]}
    given = {n: v.numpy() for n, v in given.items()} if array else given
    read = KeypointDataset(given).tensors
    twin = KeypointDataset({**given, "found": ~lost}).tensors
    assert torch.equal(read["found"], ~lost)
    for name, values in twin.items():
        assert_close(read[name], values, rtol=0, atol=0, equal_nan=True)
    assert read["uv"][lost].isnan().all()
    assert (read["confidence"][lost] == 0).all()


def test_found_is_absent_without_missing_joints():
    assert "found" not in KeypointDataset({"uv": HANDS["uv"]}).tensors


def test_missing_joints_are_nan_or_not_found():
    uv = HANDS["uv"].clone()
    uv[1, 4] = torch.nan
    message = "record 1: uv is not finite; a missing joint is NaN, or False in found"
    with pytest.raises(ValueError, match=message):
        KeypointDataset({"uv": uv, "found": torch.ones(6, 21, dtype=torch.bool)})
    uv[1, 4] = torch.inf
    with pytest.raises(ValueError, match=message):
        KeypointDataset({"uv": uv})
    with pytest.raises(TypeError, match="found to be bool"):
        KeypointDataset({"uv": uv, "found": torch.ones(6, 21)})


def test_joints_that_were_not_found_are_missing_whatever_they_were():
    tensors = HANDS
    found = torch.rand(6, 21, generator=torch.Generator().manual_seed(0)) < 0.7
    given = {name: tensors[name].clone() for name in ("uv", "confidence", "cue")}
    given["uv"][~found] = torch.inf
    given["confidence"][~found] = 87.0
    read = KeypointDataset({**given, "found": found})
    for i, hand in enumerate(read):
        assert torch.equal(hand.found, found[i])
        assert torch.equal(hand.uv.isnan().all(-1), ~found[i])
        assert (hand.confidence[~found[i]] == 0).all()
        assert torch.equal(hand.uv[found[i]], tensors["uv"][i][found[i]])
        assert torch.equal(hand.x.isfinite().all(-1), found[i])


FILES = [f"bild/ä{i}.jpg" for i in range(6)]
SUBJECT = torch.tensor([3, 3, 1, 0, 2**40, 2])
EXTRA = {
    "name": FILES,
    "subject": SUBJECT,
    "box": torch.rand(6, 4).double(),
    "side": np.array(["left", "right"] * 3),
    "seen": (SUBJECT > 1).numpy(),
}


def check_extra(found, index):
    assert list(found) == list(EXTRA)
    assert found["name"] == [FILES[i] for i in index]
    assert found["side"] == [("left", "right")[i % 2] for i in index]
    assert torch.equal(found["subject"], SUBJECT[index])
    assert torch.equal(found["box"], EXTRA["box"][index])
    assert torch.equal(found["seen"], SUBJECT[index] > 1)


def test_samples_have_the_extra_entries():
    hands = KeypointDataset({"uv": HANDS["uv"]}, extra=EXTRA)
    sample = hands[4]
    assert (sample.name, sample.side) == (FILES[4], "left")
    assert (sample.subject.tolist(), sample.seen.tolist()) == ([2**40], [True])
    assert sample.box.shape == (1, 4)
    check_extra(hands.extra, range(6))
    check_extra(hands[2:5].extra, [2, 3, 4])
    check_extra(hands[[5, 0]].extra, [5, 0])
    check_extra(hands[2:5].copy().extra, [2, 3, 4])
    check_extra(hands[3:4].copy().extra, [3])
    assert set(hands.tensors) == {"uv"}
    assert KeypointDataset({"uv": HANDS["uv"]}).extra == {}


def test_extra_entries_are_batched():
    hands = KeypointDataset({"uv": HANDS["uv"]}, extra=EXTRA)
    (batch,) = DataLoader(hands, batch_size=6, num_workers=2)
    check_extra({name: batch[name] for name in EXTRA}, range(6))


def test_one_sample():
    one = {name: values[:1] for name, values in EXTRA.items()}
    hands = KeypointDataset({"uv": HANDS["uv"][:1]}, extra=one)
    check_extra(hands.extra, [0])
    assert hands[0].name == FILES[0]


def test_npz_reads_the_requested_extra_entries(tmp_path):
    path = tmp_path / "hands.npz"
    np.savez(path, uv=HANDS["uv"], joints=HAND.joints, **EXTRA)
    check_extra(NpzKeypoints(path, extra=list(EXTRA)).extra, range(6))
    with pytest.raises(ValueError, match="npz: unknown entry subject; .* others go into extra"):
        NpzKeypoints(path, extra=["name", "box", "side", "seen"])
    with pytest.raises(ValueError, match="npz: expected an array names, got uv, name"):
        NpzKeypoints(path, extra=["names"])


@pytest.mark.parametrize(
    ("extra", "error", "message"),
    [
        ({"name": FILES[:5]}, ValueError, "expected 6 entries of name, got 5"),
        ({"subject": SUBJECT[:, None].T}, ValueError, "expected 6 entries of subject, got 1"),
        ({"subject": torch.tensor(6)}, ValueError, "expected 6 entries of subject, got 0"),
        ({"name": "abcdef"}, TypeError, "expected extra name as a tensor or an array .* got str"),
        ({"name": [*FILES[:5], None]}, TypeError, "extra name: expected strings, .*, got None"),
        ({"name": np.array([{}] * 6)}, TypeError, r"extra name as .* got object of \[6\]"),
        ({"found": SUBJECT}, ValueError, "extra 'found': a Data has this name already"),
        ({"keys": SUBJECT}, ValueError, "extra 'keys': a Data has this name already"),
        ({"subject_index": SUBJECT}, ValueError, "extra 'subject_index': PyG offsets entries"),
        ({"batch_id": SUBJECT}, ValueError, "extra 'batch_id': PyG offsets entries"),
    ],
)
def test_invalid_extra_entries_raise(extra, error, message):
    with pytest.raises(error, match=f"KeypointDataset: .*{message}"):
        KeypointDataset({"uv": HANDS["uv"]}, extra=extra)


def test_extra_names_of_a_file_are_a_list(tmp_path):
    np.savez(
        tmp_path / "a.npz", skeleton="HAND", uv=HANDS["uv"].numpy(), name=np.array([*"abcdef"])
    )
    with pytest.raises(TypeError, match="expected extra to be a list of names, got 'name'"):
        NpzKeypoints(tmp_path / "a.npz", extra="name")


@pytest.mark.parametrize("skeleton", ["HAND", None])
def test_a_skeleton_is_no_name(skeleton):
    with pytest.raises(TypeError, match="KeypointDataset: expected a Skeleton, such as HAND"):
        KeypointDataset({"uv": HANDS["uv"]}, skeleton)


def test_an_unknown_entry_is_no_extra():
    with pytest.raises(ValueError, match="unknown entry subject; .* others go into extra"):
        KeypointDataset({"uv": HANDS["uv"], "subject": SUBJECT})


def test_transforms_in_place_leave_the_data_alone():
    def shift(hand):
        for name in ("uv", "xyz", "d", "s"):
            hand[name] += 1
        hand.edge_index += 1
        return hand

    tensors = {"xyz": torch.rand(3, 21, 3), "uv": torch.rand(3, 21, 2)}
    hands = KeypointDataset(tensors, transform=shift)
    first = hands[1]
    for _ in range(2):
        again = hands[1]
        for name in ("uv", "xyz", "d", "s", "edge_index"):
            assert torch.equal(again[name], first[name])


@pytest.mark.parametrize("n", [1, 6])
def test_a_transform_that_sets_everything_to_zero_leaves_the_data_alone(n):
    def clear(hand):
        for name in ("uv", "subject", "K"):
            hand[name].mul_(0)
        return hand

    given = {name: HANDS[name][:n].clone() for name in ("uv", "xyz", "K")}
    hands = KeypointDataset(given, extra={"subject": SUBJECT[:n]}, transform=clear)
    for hand in [*hands, *hands]:
        assert not hand.uv.any()
    assert torch.equal(hands.tensors["uv"], HANDS["uv"][:n])
    assert torch.equal(hands.tensors["K"], HANDS["K"][:n])
    assert torch.equal(hands.extra["subject"], SUBJECT[:n])
    assert torch.equal(given["uv"], HANDS["uv"][:n])


def test_hands_of_a_reader_are_a_dataset():
    joints = {str(j): {"x": 3 * j, "y": 300 - j} for j in range(133)} | {"93": {"x": 0, "y": 0}}
    read = read_h3wb({"7": {"keypoints_2d": joints, "keypoints_3d": {
        j: {**joint, "z": 4000 + 3 * int(j)} for j, joint in joints.items()
    }}})  # fmt: skip
    hands = KeypointDataset({"uv": read.uv, "xyz": read.xyz}, extra={"side": read.side})
    assert [(hand.side, (~hand.found).nonzero().flatten().tolist()) for hand in hands] == [
        ("left", [2]),
        ("right", []),
    ]
    assert_close(hands.tensors["xyz"], read.xyz)
