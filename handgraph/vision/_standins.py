"""Load ``torch.save`` files that contain more than tensors, without running code in them."""

from __future__ import annotations

import re
from pathlib import Path

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


def load_tensors(path: str | Path) -> object:
    """Load a file with ``weights_only=True``, with :class:`StandIn` objects for unknown classes.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is damaged, not from ``torch.save``, or uses names PyTorch blocks.
    """
    known: dict[str, type[StandIn]] = {}
    while len(known) <= MAX_NAMES:
        try:
            pairs = [(stand_in, name) for name, stand_in in known.items()]
            with torch.serialization.safe_globals(pairs):  # type: ignore[arg-type]
                return torch.load(path, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # a damaged pickle can raise any exception
            name = _unknown(error)
            if name is None or name in known:
                raise _refusal(path, str(error)) from error
            known[name] = type(name, (StandIn,), {})
    raise _refusal(path, f"GLOBAL more than {MAX_NAMES} names")


def _unknown(error: Exception) -> str | None:
    """Return the name that PyTorch does not know, ``None`` for any other error."""
    found = re.search(r"GLOBAL (\S+) was not an allowed global", str(error))
    if found is None:
        return None
    return found[1] if "." in found[1] else f"builtins.{found[1]}"  # PyTorch omits it


def _refusal(path: str | Path, error: str) -> ValueError:
    asked = re.search(r"GLOBAL (.+?)( whose| was|$)", error, re.MULTILINE)
    why = f"refers to {asked[1]}" if asked else "is damaged or has another format"
    return ValueError(
        f"{path}: expected a torch.save file that maps names to tensors, got one that {why}; none "
        "of it was run. If you trust it, load it with weights_only=False and pass its 'state_dict'"
    )
