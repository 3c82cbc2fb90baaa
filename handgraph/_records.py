"""What is checked of many records: the first one that is wrong is named."""

from __future__ import annotations

from torch import Tensor

from handgraph.geometry import project


def require_all(good: Tensor, source: str, problem: str) -> None:
    """Raise unless all is good, and name the first record where it is not."""
    bad = ~good.reshape(len(good), -1).all(dim=1)
    if bad.any():
        raise ValueError(f"{source}: record {int(bad.nonzero()[0, 0])}: {problem}")


def require_cameras(K: Tensor, source: str) -> None:
    """Raise unless all matrices have positive focal lengths and the last row (0, 0, 1)."""
    last = (K[:, 2] == K.new_tensor([0.0, 0.0, 1.0])).all(dim=-1)
    good = last & (K[:, 0, 0] > 0) & (K[:, 1, 1] > 0)
    require_all(good, source, "K is no camera matrix")


def project_all(xyz: Tensor, K: Tensor, source: str) -> Tensor:
    """Give the pixels of all joints, and raise unless every camera sees all of its joints."""
    require_all(xyz[..., 2] > 0, source, "a joint is not before the camera (z <= 0)")
    uv = project(xyz, K)
    require_all(uv.isfinite(), source, "a joint projects to infinity")
    return uv
