"""Files of ``torch.save`` that hold more than tensors, read without running anything in them."""

from __future__ import annotations

import re
from pathlib import Path

import torch

MOST_NAMES = 100
"""Names of classes and functions that a file may ask for."""


class StandIn:
    """What takes the place of an object that a file asks for: it takes anything and does nothing.

    Training code saves its own objects beside the weights (mmengine's ``HistoryBuffer``, NumPy's
    arrays and numbers, ...). Their code is neither imported nor run.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Take what the object was pickled with."""


def load_tensors(path: str | Path) -> object:
    """Read a file by ``torch.load`` with ``weights_only=True``, with stand-ins for other objects.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged, no file of ``torch.save``, or asks for what PyTorch blocks.
    """
    known: dict[str, type[StandIn]] = {}
    while len(known) <= MOST_NAMES:
        try:
            pairs = [(stand_in, name) for name, stand_in in known.items()]
            with torch.serialization.safe_globals(pairs):  # type: ignore[arg-type]
                return torch.load(path, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # whatever a damaged pickle makes PyTorch raise
            name = _unknown(error)
            if name is None or name in known:
                raise _refusal(path, str(error)) from error
            known[name] = type(name, (StandIn,), {})
    raise _refusal(path, f"GLOBAL of more than {MOST_NAMES} names")


def _unknown(error: Exception) -> str | None:
    """The name that a file asks for and PyTorch does not know."""
    found = re.search(r"GLOBAL (\S+) was not an allowed global", str(error))
    if found is None:
        return None
    return found[1] if "." in found[1] else f"builtins.{found[1]}"  # PyTorch leaves that out


def _refusal(path: str | Path, error: str) -> ValueError:
    asked = re.search(r"GLOBAL (.+?)( whose| was|$)", error, re.MULTILINE)
    why = f"it asks for {asked[1]}" if asked else "it is damaged, or no such file"
    return ValueError(
        f"{path}: expected a file of torch.save with tensors by name, but {why}; none of it was "
        "run. If you trust it, load it with weights_only=False and give its 'state_dict'"
    )
