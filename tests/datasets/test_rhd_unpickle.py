"""Untrusted pickles: plain arrays are read, anything else is refused without running it."""

import contextlib
import datetime
import io
import os
import pickle
import pickletools
import struct
import time
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from handgraph.datasets.rhd import unpickle
from handgraph.datasets.rhd.unpickle import unpickle_arrays

PATH = Path("anno.pickle")
RECORD = {
    "uv_vis": np.linspace(0, 300, 126).reshape(42, 3),
    "xyz": np.linspace(-0.2, 0.6, 126, dtype=np.float32).reshape(42, 3),
    "K": np.eye(3),
}


def read(content):
    return unpickle_arrays(PATH, content)


def refused(content, message=""):
    with pytest.raises(
        ValueError, match=f"^anno.pickle: not a pickle of plain arrays: .*{message}"
    ):
        read(content)


def same(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, np.ndarray):
        equal = first.dtype == second.dtype and first.shape == second.shape
        return equal and first.tobytes() == second.tobytes()
    return type(first) is type(second) and first == second


PLAIN_TYPES = ["<f4", "<f8", ">f4", ">f8", "<f2", "u1", "i1", "<i2", "<u4", ">i8", "?"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", PLAIN_TYPES)
def test_plain_arrays_in_all_protocols(protocol, dtype):
    array = np.arange(24).reshape(4, 6).astype(dtype)
    views = {"C": array, "F": np.asfortranarray(array), "some": array[::2, 1:4], "none": array[:0]}
    for name, view in views.items():
        found = read(pickle.dumps({7: {name: view}}, protocol))
        assert same(found, {7: {name: view}}), name
    assert same(read(pickle.dumps(array[0, 0], protocol)), array[0, 0].item())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_in_all_protocols(protocol):
    values = {
        "text": "wrist \u00fc \U0001f590",
        "numbers": (0, -1, 255, 70_000, -(2**40), 2**80, 1.5, float("inf")),
        "truth": (True, False, None),
        "bytes": (b"", b"\x00\xff", b"x" * 300),
        3: {},
    }
    assert same(read(pickle.dumps(values, protocol)), values)


def test_arrays_with_another_axis_order_are_read_or_raise():
    array = np.zeros((2, 3, 4)).transpose(2, 0, 1)
    content = pickle.dumps(array, 5)
    if b"_frombuffer" in content:  # NumPy since 2.3
        refused(content, "it holds an array whose axes are in another order")
    else:
        assert same(read(content), array)


def test_arrays_that_are_shared_stay_arrays():
    found = read(pickle.dumps(dict.fromkeys(range(3), RECORD)))
    assert all(same(found[i], RECORD) for i in range(3))


def test_pickles_of_numpy_1():
    content = pickle.dumps({5: RECORD}, 2)
    assert b"numpy._core" in content or b"numpy.core" in content
    for core in (b"numpy.core", b"numpy._core"):
        old = content.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", core)
        assert same(read(old), {5: RECORD})


def test_pickles_of_python_2():
    raw = RECORD["K"].tobytes()
    content = (
        b"\x80\x02}K\x05}U\x01Kcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01K\x03K\x03\x86cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", len(raw))
        + raw
        + b"tbss."
    )
    assert same(read(content), {5: {"K": RECORD["K"]}})
    assert same(pickle.loads(content, encoding="latin1"), {5: {"K": RECORD["K"]}})


def test_large_files_are_read_in_seconds():
    records = {i: {n: a.astype(np.float32) for n, a in RECORD.items()} for i in range(2000)}
    content = pickle.dumps(records, 4)
    start = time.process_time()
    found = read(content)
    assert time.process_time() - start < 2.0  # all 41,258 take less than 40 s
    assert same(found[1999], records[1999])


# Pickles that run code


class Gadget:
    """Object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def canaries(file):
    """Return pickles that create a file if they are run."""
    command = f"open({str(file)!r}, 'w').close()"
    return {
        "os.system": Gadget(os.system, f"touch {file}"),
        "eval": Gadget(eval, command),
        "exec": Gadget(exec, command),
        "open": Gadget(open, str(file), "w"),
        "getattr": Gadget(getattr, "a", "upper"),
        "np.save": Gadget(np.save, str(file), 0),
        "np.fromfile": Gadget(np.fromfile, __file__),
        "setattr": Gadget(setattr, Gadget, "broken", 1),
        "in an array": np.array([Gadget(os.system, f"touch {file}")], dtype=object),
        "in a dict": {5: {**RECORD, "K": Gadget(os.system, f"touch {file}")}},
    }


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", canaries("x"))
def test_canaries_stay_alive(tmp_path, name, protocol):
    file = tmp_path / "canary"
    content = pickle.dumps(canaries(file)[name], protocol)
    refused(content)
    assert not file.exists()
    if name == "os.system":
        pickle.loads(content)  # this runs the code in the pickle
        assert file.exists()


class Plain:
    """Object of a user's class."""


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [
        Plain(),
        Plain,
        print,
        np.sum,
        np.float64,
        {1, 2},
        frozenset([1]),
        [1, 2],
        OrderedDict(a=1),
        datetime.date(2017, 1, 1),
        1 + 2j,
        range(3),
        Path("x"),
        np.array([None]),
        np.array(["text"]),
        np.array([b"text"]),
        np.array([1 + 2j]),
        np.array(["2017"], dtype="M8[D]"),
        np.zeros(2, dtype=[("a", "f4"), ("b", "O")]),
        np.zeros(2, dtype=[("a", "f4")]),
        np.zeros(2, dtype="V4"),
        np.longdouble(1),
        np.eye(2).view(np.matrix),
        np.ma.array([1.0]),
        np.dtype("O"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_pickles_of_other_objects_raise(value, protocol):
    refused(pickle.dumps({0: value}, protocol))


def test_errors_name_the_requested_class():
    refused(pickle.dumps(Gadget(os.system, "true")), r"it asks for (posix|nt)\.system$")
    refused(pickle.dumps(np.array([None])), "it holds an array that is not numeric$")
    refused(pickle.dumps([1]), r"it holds more than .* and arrays \(opcode 93\)$")


def glob(module, name):
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


RECONSTRUCT = glob("numpy.core.multiarray", "_reconstruct")
FRESH_ARRAY = RECONSTRUCT + b"(tR"
FLOAT = glob("numpy", "dtype") + b"U\x02f8\x85R"


def array_with(shape=b"K\x01\x85", dtype=FLOAT, raw=b"U\x08" + bytes(8), end=b"tb."):
    """Build the pickle of an array part by part."""
    return b"\x80\x02" + FRESH_ARRAY + b"(K\x01" + shape + dtype + b"\x89" + raw + end


def dtype_with(state, name=b"U\x02f8"):
    return glob("numpy", "dtype") + name + b"\x85R(" + state + b"tb"


HUGE = b"\x8a\x08" + (2**62).to_bytes(8, "little")
STATES = {
    "another number of bytes": array_with(shape=b"K\x02\x85"),
    "a huge shape": array_with(shape=HUGE + b"\x85"),
    "a shape that overflows": array_with(shape=HUGE + HUGE + HUGE + b"\x87"),
    "a negative shape": array_with(shape=b"J\xff\xff\xff\xff\x85"),
    "two negative sides": array_with(shape=b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86"),
    "a side that is text": array_with(shape=b"U\x011\x85"),
    "a side that is true": array_with(shape=b"\x88\x85"),
    "no shape": array_with(shape=b"N"),
    "a shape of 100 sides": array_with(shape=b"(" + 100 * b"K\x01" + b"t"),
    "no dtype": array_with(dtype=b"N"),
    "a dtype that is text": array_with(dtype=b"U\x02f8"),
    "a list of objects": array_with(raw=b"]"),
    "a dict for bytes": array_with(raw=b"}"),
    "no bytes": array_with(raw=b"N"),
    "text that is no bytes": array_with(raw=b"X\x03\x00\x00\x00\xe2\x82\xac"),
    "a state of four": b"\x80\x02" + FRESH_ARRAY + b"(K\x01K\x01\x85" + FLOAT + b"\x89tb.",
    "a state that is a dict": b"\x80\x02" + FRESH_ARRAY + b"}b.",
    "no state that is used": b"\x80\x02" + FRESH_ARRAY + b"K\x00" + b"b.",
    "object": array_with(dtype=glob("numpy", "dtype") + b"U\x01O\x85R"),
    "object with bytes": array_with(dtype=glob("numpy", "dtype") + b"U\x02O8\x85R"),
    "records": array_with(dtype=glob("numpy", "dtype") + b"U\x05f4,f4\x85R"),
    "a dtype of a number": array_with(dtype=glob("numpy", "dtype") + b"K\x05\x85R"),
    "fields that lie elsewhere": array_with(
        dtype=dtype_with(
            b"K\x03U\x01|NU\x01a\x85}U\x01a" + FLOAT + b"M\xe8\x03\x86sK\x08K\x01K\x10"
        )
    ),
    "a subarray": array_with(
        dtype=dtype_with(b"K\x03U\x01|" + FLOAT + b"K\x02\x86NNK\x10K\x01K\x00")
    ),
    "no order of bytes": array_with(dtype=dtype_with(b"K\x03K\x07NNNK\x08K\x08K\x3f")),
    "a short state": array_with(dtype=dtype_with(b"K\x03")),
    "a call of text": b"U\x03abc)R.",
    "a call of an array": FRESH_ARRAY + b")R.",
    "a call with a dict": RECONSTRUCT + b"}R.",
    "a change of a function": RECONSTRUCT + b"}U\x04callK\x00sb.",
    "a change of a dict": b"}}b.",
    "a change of text": b"U\x01a}b.",
    "an item of a tuple": b")K\x00K\x00s.",
    "an item of an array": FRESH_ARRAY + b"K\x00K\x00s.",
    "a tuple as key": b"})K\x00s.",
    "a call of the array type": glob("numpy", "ndarray") + b")R.",
    "a scalar of text": glob("numpy.core.multiarray", "scalar") + b"U\x01aU\x01b\x86R.",
    "a scalar of more": glob("numpy.core.multiarray", "scalar")
    + FLOAT
    + b"U\x09"
    + bytes(9)
    + b"\x86R.",
    "another encoding": glob("_codecs", "encode") + b"U\x01aU\x03hex\x86R.",
    "a name with dots": glob("numpy", "dtype.__init__") + b".",
    "a name in a stub": glob("handgraph.datasets.rhd.unpickle", "_array") + b".",
    "an instance": b"(ios\nsystem\n.",
    "an object": b"(" + glob("numpy", "dtype") + b"o.",
    "a new object": glob("numpy", "dtype") + b")\x81.",
    "a persistent id": b"Pabc\n.",
    "an extension": b"\x82\x01.",
    "a buffer": b"\x80\x05\x97.",
    "a list": b"].",
    "a set": b"\x80\x04\x8f.",
    "nothing": b"",
    "no opcode": b"\xff.",
    "an empty stack": b".",
    "no end": b"\x80\x04N",
    "a protocol of the future": b"\x80\x63N.",
    "too long a number": b"L" + 5000 * b"9" + b"L\n.",
    "nonsense for a number": b"Iabc\n.",
    "a memo that is not there": b"h\x05.",
    "text that is none": b"X\x01\x00\x00\x00\xff.",
}


@pytest.mark.parametrize("name", STATES)
def test_hostile_states_are_refused(name):
    refused(STATES[name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("another number of bytes", "an array with 8 bytes for another shape$"),
        ("a huge shape", "an array with 8 bytes for another shape$"),
        ("two negative sides", "an array without a shape$"),
        ("a side that is true", "an array without a shape$"),
        ("a call of text", "it calls something$"),
        ("fields that lie elsewhere", "it holds an array that is not numeric$"),
    ],
)
def test_errors_describe_the_defect(name, message):
    refused(STATES[name], message)


def test_the_parts_of_these_are_sound():
    """The parts of the pickles above are valid, so that each is refused for its one defect."""
    assert same(read(array_with()), np.zeros(1))
    dtype = dtype_with(b"K\x03U\x01>NNNK\x08K\x08K\x00")
    assert same(read(array_with(dtype=dtype)), np.zeros(1, dtype=">f8"))
    assert (
        read(glob("numpy.core.multiarray", "scalar") + FLOAT + b"U\x08" + bytes(8) + b"\x86R.") == 0
    )
    assert read(glob("_codecs", "encode") + b"U\x01aU\x06latin1\x86R.") == b"a"


def laughs(levels):
    """Nest dicts that contain the previous one twice: 2 ** levels leaves in a few bytes."""
    content = b"}q\x00"
    for level in range(1, levels):
        content += b"}(K\x00h%cK\x01h%cuq%c" % (level - 1, level - 1, level)
    return content + b"."


def remembered(times):
    """Encode 100 kB of text the given number of times."""
    encode = glob("_codecs", "encode") + b"q\x01"
    text = b"X" + (10**5).to_bytes(4, "little") + 10**5 * b"a" + b"q\x02"
    again = b"K\x00h\x01h\x02U\x06latin1\x86Rs"
    return b"}" + encode + b"0" + text + b"0" + times * again + b"."


BOMBS = {
    "a place far out in the memo": b"Nr\xff\xff\xff\xff.",
    "a place farther out": b"Np9999999999999\n.",
    "bytes that are not there": b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"ab.",
    "text that is not there": b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"ab.",
    "a frame that is not there": b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"N.",
    "long bytes": b"B\xff\xff\xff\xffab.",
    "a long number": b"\x8b\xff\xff\xff\x7fab.",
    "a billion laughs": laughs(60),
    "a tower of dicts": b"}" + 50_000 * b"K\x00}" + 50_000 * b"s" + b".",
    "a tower of tuples": b")" + 50_000 * b"\x85" + b".",
    "a key that takes forever to hash": b"})"
    + b"".join(b"q\x00h\x00\x86" for _ in range(60))
    + b"Ns.",
    "keys that share one hash": pickle.dumps({k * (2**61 - 1): 0 for k in range(20_000)}),
    "a shape of huge numbers": array_with(
        shape=b"(" + b"\x8a\xff" + 255 * b"\x7f" + 3000 * b"2" + b"t"
    ),
    "text that is encoded again and again": remembered(20_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_files_cannot_allocate_large_memory(name):
    tracemalloc.start()
    reads_or_refuses(BOMBS[name])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


def test_unpickling_changes_no_global_state():
    before = dict(unpickle._GLOBALS)
    for content in (*STATES.values(), *BOMBS.values()):
        reads_or_refuses(content)
    assert before == unpickle._GLOBALS
    assert same(read(pickle.dumps({5: RECORD})), {5: RECORD})


def test_messages_stay_short():
    with pytest.raises(ValueError, match="it asks for") as caught:
        read(glob("a" * 10_000, "b") + b".")
    assert len(str(caught.value)) < 300


# Fuzzing


def reads_or_refuses(content):
    """Check that reading succeeds or raises the expected error."""
    with contextlib.suppress(ValueError):
        read(content)


SMALL = {3: {"K": np.eye(2), "n": np.float32(1.5)}, 4: {"xyz": np.arange(4, dtype=np.int16)}}
SOUND = [pickle.dumps(SMALL, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
OPCODES = [op.code.encode("latin1") for op in pickletools.opcodes]
PIECES = [
    *OPCODES,
    RECONSTRUCT,
    FRESH_ARRAY,
    FLOAT,
    glob("os", "system"),
    glob("builtins", "eval"),
    glob("numpy", "ndarray"),
    glob("numpy.core.multiarray", "scalar"),
    glob("_codecs", "encode"),
    b"U\x08" + bytes(8),
    b"U\x04true",
    b"K\x01",
    b"K\x01\x85",
    b"q\x00",
    b"h\x00",
    b"(",
    b")",
    b"}",
    b"t",
]


@settings(max_examples=400)
@given(st.sampled_from(SOUND), st.data())
def test_mutated_pickles(content, data):
    content = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(start + 8, len(content))))
        content[start:stop] = data.draw(st.binary(max_size=8) | st.sampled_from(PIECES))
    reads_or_refuses(bytes(content))


@settings(max_examples=100)
@given(st.sampled_from(SOUND), st.integers(0, 10_000))
def test_truncated_pickles(content, length):
    cut = content[: length % len(content)]
    with pytest.raises(ValueError, match=r"^anno\.pickle: not a pickle"):
        read(cut)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=30))
def test_random_opcodes(pieces):
    reads_or_refuses(b"".join(pieces) + b".")


@settings(max_examples=200)
@given(st.binary(max_size=60))
@example(b"cposix\nsystem\n(S'true'\ntR.")
def test_random_bytes(content):
    reads_or_refuses(content)


keys = st.integers(-(2**62), 2**62) | st.text(max_size=5)
leaves = (
    keys
    | st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.binary(max_size=300)
    | hnp.arrays(st.sampled_from(PLAIN_TYPES), hnp.array_shapes(min_dims=0, min_side=0))
)


@settings(max_examples=200)
@given(
    st.recursive(leaves, lambda inner: st.dictionaries(keys, inner, max_size=4), max_leaves=8),
    st.integers(0, pickle.HIGHEST_PROTOCOL),
)
def test_plain_structures_are_restored(value, protocol):
    content = io.BytesIO()
    pickle.Pickler(content, protocol).dump(value)
    assert same(read(content.getvalue()), value)
