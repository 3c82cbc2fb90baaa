"""Random numbers that the simulator draws: bounded bells, and uniform numbers that correlate."""

from __future__ import annotations

import numpy as np

from handgraph.datasets.kinematics import Array


def bell(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw from a bell of mean 0, standard deviation 1, within [-3, 3]: a sum of three uniforms.

    Example:
        >>> bell(np.random.default_rng(0), (10_000,)).std().round(1).item()
        1.0
    """
    return np.asarray(2.0 * rng.random((*shape, 3)).sum(axis=-1) - 3.0)


def spread(rng: np.random.Generator, deviation: float, shape: tuple[int, ...]) -> Array:
    """Draw from :func:`bell` times ``deviation``; if that is 0, nothing is drawn from ``rng``.

    Example:
        >>> spread(np.random.default_rng(0), 0.0, (2,)).tolist()
        [0.0, 0.0]
    """
    return deviation * bell(rng, shape) if deviation else np.zeros(shape)


def uniform_of(normal: Array) -> Array:
    """Map standard normal numbers to (0, 1), nearly uniformly (logistic for the normal).

    Example:
        >>> uniform_of(np.array(0.0)).item()
        0.5
    """
    return np.asarray(1.0 / (1.0 + np.exp(-1.702 * normal)), dtype=np.float64)
