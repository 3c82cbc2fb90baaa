"""Load ``torch.save`` files that contain more than tensors, without running code in them."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

MAX_NAMES = 100
"""Largest number of unknown classes and functions that a file may refer to."""


class StandIn:
    """Placeholder for an object in a file that accepts any arguments and does nothing.

    Training code saves its own objects with the weights (mmengine's ``HistoryBuffer``, NumPy
    arrays and scalars, ...). Their code is neither imported nor run.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Ignore the pickled state."""


class DictStandIn:
    """Placeholder for a subclass of ``dict``: PyTorch stores items in an ``OrderedDict`` only."""

    def __new__(cls, *args: object, **kwargs: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        """Return an empty ``OrderedDict``."""
        return OrderedDict()


class ListStandIn:
    """Placeholder for a subclass of ``list``: PyTorch appends to a ``list`` only."""

    def __new__(cls, *args: object, **kwargs: object) -> list[Any]:  # type: ignore[misc]
        """Return an empty list."""
        return []


CONTAINERS = {"SETITEM": DictStandIn, "append": ListStandIn, "extend": ListStandIn}
"""Placeholders by the operation that PyTorch does not support on a :class:`StandIn`."""


def load_tensors(path: str | Path) -> object:
    """Load a file with ``weights_only=True``, with placeholders for unknown classes.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is damaged, not from ``torch.save``, or uses names PyTorch blocks.
    """
    known: dict[str, type] = {}
    while len(known) <= MAX_NAMES:
        try:
            pairs = [(type(name, (kind,), {}), name) for name, kind in known.items()]
            with torch.serialization.safe_globals(pairs):  # type: ignore[arg-type]
                return torch.load(path, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # a damaged pickle can raise any exception
            name, kind = _needed(str(error))
            if kind is None or known.get(name) is kind:
                raise _refusal(path, str(error)) from error
            known[name] = kind
    raise _refusal(path, f"GLOBAL more than {MAX_NAMES} names")


def _needed(error: str) -> tuple[str, type | None]:
    """Return name and class of the placeholder that an error requires; ``None`` for no class."""
    if found := re.search(r"GLOBAL (\S+) was not an allowed global", error):
        name = found[1] if "." in found[1] else f"builtins.{found[1]}"  # PyTorch omits it
        return name, StandIn
    if found := re.search(rf"Can only ({'|'.join(CONTAINERS)}).*'{__name__}\.(\S+)'>", error):
        return found[2], CONTAINERS[found[1]]
    return "", None


def _refusal(path: str | Path, error: str) -> ValueError:
    start = f"{path}: expected a torch.save file that maps names to tensors, got one that"
    asked = re.search(r"GLOBAL (.+?)( whose| was|$)", error, re.MULTILINE)
    held = re.search(r"but got <class '(.+?)'>", error)
    if asked is None and held is None:
        return ValueError(f"{start} is damaged or has another format; none of it was run")
    why = f"refers to {asked[1]}" if asked else f"holds a {held[1]}"  # type: ignore[index]
    return ValueError(
        f"{start} {why}; none of it was run. If you trust it, load it with "
        "weights_only=False and pass its 'state_dict'"
    )
