"""Where the outputs of several images go."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def folders(images: Sequence[Path]) -> list[Path]:
    """A folder for each image: its name, with the folders and the ending that tell it from others.

    An image that is given twice has one folder.
    """
    files = [Path(os.path.abspath(path)) for path in images]
    common = os.path.commonpath([file.parent for file in files])
    inside = [file.relative_to(common) for file in files]
    for names in ([Path(file.stem) for file in inside], [file.with_suffix("") for file in inside]):
        if len(set(names)) == len(set(files)):
            return names
    return inside
