"""Tables in the style of COCO: rows with ids, image sizes and cameras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from handgraph.formats._json import entries, fail, field, number, record, table

Row = Mapping[str, Any]
"""An image, a category or an annotation."""


def rows(content: object, key: str, name: str) -> list[Any]:
    """Return a field that is a list."""
    return entries(field(content, key, name), f"{name}: {key}")


def rows_by_id(content: object, key: str, name: str) -> dict[object, Row]:
    """Return the rows of a field, by id."""
    found: dict[object, Row] = {}
    for i, row in enumerate(rows(content, key, name)):
        where = f"{name}: {key}[{i}]"
        own = field(row, "id", where)
        if not isinstance(own, int | str):
            raise fail(f"{where}: id", "a whole number or a name", own)
        found[own] = record(row, where)
    return found


def referred(table: Mapping[object, Row], row: Row, key: str, where: str) -> Row:
    """Return the row with the id that ``row[key]`` refers to."""
    value = field(row, key, where)
    if not isinstance(value, int | str) or value not in table:
        raise fail(f"{where}: {key}", "an id in the file", value)
    return table[value]


def image_size(image: Row, where: str) -> tuple[float, float] | None:
    """Return width and height, if the image has both."""
    if "width" not in image or "height" not in image:
        return None
    what = f"{where}: the image's"
    return number(image["width"], f"{what} width"), number(image["height"], f"{what} height")


def camera_matrix(focal: object, princpt: object, where: str) -> Tensor:
    """Return the camera matrix from focal lengths and principal point, Float64 ``[3, 3]``."""
    fx, fy = table(focal, 2, 1, f"{where} focal").flatten().tolist()
    cx, cy = table(princpt, 2, 1, f"{where} princpt").flatten().tolist()
    K = [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]
    return torch.tensor(K, dtype=torch.float64, device="cpu")
