"""RHD's reader on damaged files: a handgraph error, a skip, or a consistent sample."""

import contextlib
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from handgraph import HAND
from handgraph.datasets import RHDHands, SyntheticHands, write_rhd
from handgraph.geometry import project

SIDE = 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write three hands to RHD files."""
    root = tmp_path_factory.mktemp("fuzz")
    hands = []
    tensors = SyntheticHands(3, seed=8).tensors
    zoom = torch.diag(torch.tensor([SIDE / 256, SIDE / 256, 1.0]))
    for i in range(3):
        hand = HAND.to_data(xyz=tensors["xyz"][i], visible=tensors["visible"][i])
        hand.K = (zoom @ tensors["K"][i])[None]
        hand.uv_true = project(hand.xyz[None], hand.K)[0]
        hand.image = torch.full((1, 3, SIDE, SIDE), 60 * i, dtype=torch.uint8)
        hand.mask = torch.full((1, SIDE, SIDE), 20, dtype=torch.uint8)
        hand.depth = torch.full((1, SIDE, SIDE), float(i))
        hands.append(hand)
    write_rhd(root, "training", hands)
    return root / "training"


def load(folder, content, **arguments):
    """Load the annotations from bytes."""
    path = folder / "anno_training.pickle"
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        with tempfile.TemporaryDirectory() as cache:
            return RHDHands(
                folder.parent, image_size=None, cache=cache, progress=False, **arguments
            )
    finally:
        path.write_bytes(before)


def load_or_refuse(folder, content, **arguments):
    """Return the dataset, or ``None`` if it is refused with a handgraph error."""
    try:
        return load(folder, content, **arguments)
    except ValueError as error:
        if str(error).startswith(str(folder)):
            return None
        raise


def check(dataset):
    """Check that a sample is consistent."""
    tensors = dataset.tensors
    for values in tensors.values():
        assert values.isfinite().all()
    assert (tensors["d"].abs() <= 200).all()
    error = (project(tensors["xyz"], tensors["K"]) - tensors["uv_true"]).abs()
    assert (error <= (0.002 * tensors["uv_true"].abs()).clamp(min=1) + 1e-3).all()
    assert (tensors["xyz"][..., 2] > 0).all()
    assert ((tensors["s"] > 0.004) & (tensors["s"] < 0.101)).all()
    assert tensors["visible"].any(dim=1).all()


def original(folder):
    return pickle.loads((folder / "anno_training.pickle").read_bytes())


@settings(max_examples=200)
@given(data=st.data())
def test_mutated_bytes(folder, data):
    content = bytearray(pickle.dumps(original(folder), data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        stop = start + data.draw(st.integers(0, 6))
        content[start:stop] = data.draw(st.binary(max_size=6))
    dataset = load_or_refuse(folder, bytes(content), load=())
    if dataset is not None:
        check(dataset)


numbers = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -1.0, 0.5, 1e4, 1e20, -1e38, 1e300])


@settings(max_examples=200)
@given(
    name=st.sampled_from(["uv_vis", "xyz", "K"]),
    places=st.lists(st.tuples(st.integers(0, 41), st.integers(0, 2), numbers), min_size=1),
    dtype=st.sampled_from(["f8", "f4", "f2", ">f8"]),
)
def test_numbers_out_of_place(folder, name, places, dtype):
    records = original(folder)
    array = records[1][name].astype("f8")
    for row, column, value in places:
        array[row % len(array), column] = value
    with np.errstate(over="ignore"):
        records[1][name] = array.astype(dtype)
    dataset = load_or_refuse(folder, pickle.dumps(records), load=())
    if dataset is not None:
        check(dataset)
        assert {0, 2} <= set(dataset.sample_ids.tolist())


PARTS = {
    "uv and v swapped": ("uv_vis", lambda a: a[:, [1, 0, 2]]),
    "fingers reversed": ("xyz", lambda a: np.concatenate([a[:21], a[21:22], a[:21:-1]])),
    "other order of joints": ("uv_vis", lambda a: np.roll(a, 1, axis=0)),
    "y up": ("xyz", lambda a: a * [1, -1, 1]),
    "z backward": ("xyz", lambda a: -a),
    "x left": ("xyz", lambda a: a * [-1, 1, 1]),
    "millimetres": ("xyz", lambda a: a * 1000),
    "inches": ("xyz", lambda a: a / 0.0254),
    "kilometres": ("xyz", lambda a: a / 1000),
    "a hand of a giant": ("xyz", lambda a: a * 3.5),
    "normalised": ("uv_vis", lambda a: a / [SIDE, SIDE, 1]),
    "another camera": ("K", lambda a: a * [[1.2, 1, 1], [1, 1.2, 1], [1, 1, 1]]),
    "another size of image": ("K", lambda a: a * [[2, 1, 2], [1, 2, 2], [1, 1, 1]]),
    "whole pixels off": ("uv_vis", lambda a: a + np.float32([5, 0, 0])),
    "relative to the wrist": ("xyz", lambda a: a - a[21]),
    "hands swapped": ("xyz", lambda a: np.concatenate([a[21:], a[:21]])),
    "rounded to dm": ("xyz", lambda a: a.round(1)),
    "whole metres": ("xyz", lambda a: a.astype("i4")),
    "all the same": ("xyz", lambda a: np.broadcast_to(a[30], a.shape).copy()),
}


@pytest.mark.parametrize("what", PARTS)
def test_samples_with_inconsistent_arrays_are_skipped(folder, what):
    name, function = PARTS[what]
    records = original(folder)
    records[1][name] = np.ascontiguousarray(function(records[1][name]))
    dataset = load(folder, pickle.dumps(records), load=())
    assert dataset.sample_ids.tolist() == [0, 2]
    assert list(dataset.skipped) == [1]


arrays = hnp.arrays(
    st.sampled_from(["f4", "f8", "i4", "u1", "?"]),
    st.sampled_from([(42, 3), (3, 3), (21, 3), (42, 2), (3, 42), (0, 3), (42,), ()]),
)
values = arrays | st.none() | st.integers() | st.text(max_size=3) | st.just({})
fields = st.sampled_from(["uv_vis", "xyz", "K", "k", 0])
structures = st.dictionaries(
    st.sampled_from([0, 1, 2, 3, -1, "0", 2**70]), st.dictionaries(fields, values) | values
)


@settings(max_examples=200)
@given(change=structures, alone=st.booleans())
def test_structures(folder, change, alone):
    records = {} if alone else original(folder)
    for sample, record in change.items():
        known = records.get(sample)
        both = isinstance(known, dict) and isinstance(record, dict)
        records[sample] = {**known, **record} if both else record
    dataset = load_or_refuse(folder, pickle.dumps(records), load=())
    if dataset is not None:
        check(dataset)


@settings(max_examples=100)
@given(kind=st.sampled_from(["color", "mask", "depth"]), data=st.data())
def test_mutated_pictures(folder, kind, data):
    path = folder / kind / "00001.png"
    before = path.read_bytes()
    content = bytearray(before)
    start = data.draw(st.integers(0, len(content)))
    stop = start + data.draw(st.integers(0, 9))
    content[start:stop] = data.draw(st.binary(max_size=9))
    path.write_bytes(bytes(content))
    try:
        with tempfile.TemporaryDirectory() as cache, contextlib.suppress(ValueError):
            dataset = RHDHands(folder.parent, image_size=None, cache=cache, progress=False)
            hand = dataset[1]
            assert (hand.image == 60).all()
            assert (hand.mask == 20).all()
            assert ((hand.depth - 1).abs() < 1e-4).all()
    finally:
        path.write_bytes(before)


def test_a_canary_in_the_annotations(folder, tmp_path):
    class Gadget:
        def __reduce__(self):
            return Path.touch, (tmp_path / "canary",)

    records = original(folder)
    records[1]["K"] = Gadget()
    with pytest.raises(ValueError, match=r"anno_training.pickle: not a pickle of plain arrays"):
        load(folder, pickle.dumps(records))
    assert list(tmp_path.iterdir()) == []
    pickle.loads(pickle.dumps(records))
    assert list(tmp_path.iterdir()) == [tmp_path / "canary"]
