"""Checks of a batch of records; an error names the first bad record."""

from __future__ import annotations

from torch import Tensor

from handgraph.geometry import project


def require_all(good: Tensor, source: str, problem: str) -> None:
    """Raise unless all entries of ``good`` are true; the error names the first bad record."""
    bad = ~good.reshape(len(good), -1).all(dim=1)
    if bad.any():
        raise ValueError(f"{source}: record {int(bad.nonzero()[0, 0])}: {problem}")


def require_cameras(K: Tensor, source: str) -> None:
    """Raise unless all matrices have positive focal lengths and (0, 0, 1) as last row."""
    last = (K[:, 2] == K.new_tensor([0.0, 0.0, 1.0])).all(dim=-1)
    good = last & (K[:, 0, 0] > 0) & (K[:, 1, 1] > 0)
    require_all(good, source, "K is not a camera matrix")


def project_all(xyz: Tensor, K: Tensor, source: str) -> Tensor:
    """Project all joints to pixels, and raise unless all are in front of their camera."""
    require_all(xyz[..., 2] > 0, source, "a joint is not in front of the camera (z <= 0)")
    uv = project(xyz, K)
    require_all(uv.isfinite(), source, "a joint projects to infinity")
    return uv
