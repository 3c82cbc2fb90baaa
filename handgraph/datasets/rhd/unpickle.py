"""Safe reader of pickles of plain NumPy arrays, which executes nothing from the file.

NumPy's own objects are not unpickled either, since a malicious state can cause reads out of
bounds. Placeholder objects collect and check the state, and an array is created from its bytes. The
opcodes are those of Python's pure-Python unpickler, restricted to those that plain data needs. The
unpickler in C would allocate 64 GB for five bytes of a file.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

_PLAIN = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_OPCODES = {
    *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.POP, pickle.POP_MARK),
    *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.INT, pickle.FLOAT, pickle.BINFLOAT),
    *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG, pickle.LONG1, pickle.LONG4),
    *(pickle.STRING, pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.UNICODE, pickle.BINUNICODE),
    *(pickle.SHORT_BINUNICODE, pickle.BINUNICODE8, pickle.BINBYTES, pickle.SHORT_BINBYTES),
    *(pickle.BINBYTES8, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2),
    *(pickle.TUPLE3, pickle.EMPTY_DICT, pickle.GET, pickle.BINGET, pickle.LONG_BINGET),
    *(pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.GLOBAL),
    pickle.STACK_GLOBAL,
}


def unpickle_arrays(path: Path, content: bytes) -> object:
    """Read a pickle of dicts, text, numbers and plain arrays only.

    Pickles of Python 2 and 3 and of NumPy 1 and 2 in any protocol are supported. Any other content
    raises an error and is never executed.

    Args:
        path: The file, for error messages.
        content: Content of the file.

    Raises:
        ValueError: If the content is not such a pickle, or is truncated.

    Example:
        >>> content = pickle.dumps({7: {"K": np.eye(3)}})
        >>> unpickle_arrays(Path("a.pickle"), content)[7]["K"].tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        >>> unpickle_arrays(Path("a.pickle"), pickle.dumps(print))
        Traceback (most recent call last):
        ValueError: a.pickle: not a pickle of plain arrays: it asks for builtins.print
    """
    try:
        unpickler = _Unpickler(io.BytesIO(content), encoding="latin1")
        unpickler.left = COPIES * len(content) + SPARE
        return _made(unpickler.load())
    except Exception as error:  # damaged pickles raise many types
        what = str(error)[:200] or type(error).__name__
        if isinstance(error, KeyError):
            what = f"it holds more than dicts, text, numbers and arrays (opcode {what})"
        raise ValueError(f"{path}: not a pickle of plain arrays: {what}") from error


COPIES, SPARE = 4, 2**20
"""Limit of the bytes of arrays and text: ``COPIES`` times the file size plus ``SPARE``."""

MAX_DIMS, MAX_SIZE, MAX_KEY = 32, 2**63, 2**63
"""Limits of an array's dimensions, of their sizes, and of integer keys."""


class _Function:
    """Placeholder of a function that a pickle may call."""

    def __init__(self, call: Callable[..., object]) -> None:
        self.call = call


class _Dtype:
    """Placeholder of a ``numpy.dtype``: number type and byte order."""

    def __init__(self, name: object, *_: object) -> None:
        if not isinstance(name, str) or not _PLAIN.fullmatch(name):
            raise pickle.UnpicklingError("it holds an array that is not numeric")
        self.dtype = np.dtype(name)

    def build(self, state: object) -> None:
        """Set the pickled state of a ``numpy.dtype``."""
        if not isinstance(state, tuple) or len(state) < 5:
            raise pickle.UnpicklingError("a dtype without its state")
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("it holds an array that is not numeric")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Placeholder of a ``numpy.ndarray`` until its state is known."""

    values: NDArray[Any] | None = None

    def build(self, state: object) -> None:
        """Set the pickled state of a ``numpy.ndarray``."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array without its state")
        _, shape, dtype, fortran, buffer = state
        self.values = _array(buffer, dtype, shape, "F" if fortran else "C")


def _made(value: object) -> object:
    """Return the array of a placeholder, and any other value unchanged."""
    return value.values if isinstance(value, _Array) else value


def _array(
    buffer: object, dtype: object, shape: object, order: object, axes: object = None
) -> NDArray[Any]:
    """Create an array from its bytes, whose number must match dtype and shape."""
    if axes is not None:  # only written for three or more dimensions
        raise pickle.UnpicklingError("it holds an array whose axes are in another order")
    if isinstance(buffer, str):  # Python 2 pickles bytes as str
        buffer = buffer.encode("latin1")
    if not isinstance(dtype, _Dtype) or not isinstance(buffer, bytes) or order not in ("C", "F"):
        raise pickle.UnpicklingError("it holds an array that is not numeric")
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMS:
        raise pickle.UnpicklingError("an array without a shape")
    if not all(type(side) is int and 0 <= side < MAX_SIZE for side in shape):
        raise pickle.UnpicklingError("an array without a shape")
    if math.prod(shape) * dtype.dtype.itemsize != len(buffer):
        raise pickle.UnpicklingError(f"an array with {len(buffer)} bytes for another shape")
    flat = np.frombuffer(buffer, dtype.dtype) if buffer else np.empty(0, dtype.dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: object, buffer: object) -> object:
    return _array(buffer, dtype, (), "C").item()


def _bytes(text: object = "", encoding: object = "latin1") -> bytes:
    """Return bytes, which protocols 0 to 2 store as encoded text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes that are not written as text in latin1")
    return text.encode("latin1")


def _empty_array(*_: object) -> _Array:
    return _Array()


_GLOBALS: dict[tuple[str, str], object] = {
    ("numpy", "dtype"): _Function(_Dtype),
    ("numpy", "ndarray"): None,  # only an unused argument
    ("_codecs", "encode"): _Function(_bytes),
    ("builtins", "bytes"): _Function(_bytes),
    ("__builtin__", "bytes"): _Function(_bytes),
}
for _core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    _GLOBALS[f"{_core}.multiarray", "_reconstruct"] = _Function(_empty_array)
    _GLOBALS[f"{_core}.multiarray", "scalar"] = _Function(_scalar)
    _GLOBALS[f"{_core}.numeric", "_frombuffer"] = _Function(_array)


class _Unpickler(pickle._Unpickler):
    """Python's unpickler, restricted to the opcodes of plain data."""

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]
    left: int

    def find_class(self, module: str, name: str) -> object:
        """Return the placeholder of a NumPy name; other names raise an error."""
        if (module, name) not in _GLOBALS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _GLOBALS[module, name]

    def load_reduce(self) -> None:
        """Call a placeholder."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Function) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("it calls something")
        made = function.call(*arguments)
        self._count(made)
        self.append(made)

    def load_build(self) -> None:
        """Set the state of a placeholder."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Array | _Dtype):
            raise pickle.UnpicklingError("it changes something")
        self.stack[-1].build(state)
        self._count(_made(self.stack[-1]))

    def load_dict(self) -> None:
        """Create a dict from the items on the stack."""
        items = self.pop_mark()
        self.append({})
        self._put(items)

    def load_setitem(self) -> None:
        """Put an item into a dict."""
        value, key = self.stack.pop(), self.stack.pop()
        self._put([key, value])

    def load_setitems(self) -> None:
        """Put items into a dict."""
        self._put(self.pop_mark())

    def load_bytearray8(self) -> None:
        """Read bytes without allocating more than the file contains."""
        self.append(bytes(self.read(struct.unpack("<Q", self.read(8))[0])))

    def _count(self, made: object) -> None:
        """Raise if the data exceed their limit; a pickle can repeat memoized text."""
        size = made.nbytes if isinstance(made, np.ndarray) else 0
        self.left -= len(made) if isinstance(made, bytes) else size
        if self.left < 0:
            raise pickle.UnpicklingError("its arrays are much larger than the file")

    def _put(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise pickle.UnpicklingError("an item without a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (int, str):  # hashing a tuple can take very long
                raise pickle.UnpicklingError(f"a key that is a {type(key).__name__}")
            if type(key) is int and not -MAX_KEY < key < MAX_KEY:  # larger ones may share a hash
                raise pickle.UnpicklingError("a key that is not a small number")
            target[key] = _made(value)

    dispatch: ClassVar[dict[int, Any]] = {
        **{op[0]: pickle._Unpickler.dispatch[op[0]] for op in _OPCODES},
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
        pickle.DICT[0]: load_dict,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.BYTEARRAY8[0]: load_bytearray8,
    }
