"""Random numbers for the simulator: a bounded bell-shaped distribution and correlated uniforms."""

from __future__ import annotations

import numpy as np

from handgraph.datasets.kinematics import Array


def bell(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw sums of three uniforms, scaled to mean 0, standard deviation 1 and the range [-3, 3].

    Example:
        >>> bell(np.random.default_rng(0), (10_000,)).std().round(1).item()
        1.0
    """
    return np.asarray(2.0 * rng.random((*shape, 3)).sum(axis=-1) - 3.0)


def spread(rng: np.random.Generator, deviation: float, shape: tuple[int, ...]) -> Array:
    """Draw from :func:`bell` times ``deviation``; a deviation of 0 draws nothing from ``rng``.

    Example:
        >>> spread(np.random.default_rng(0), 0.0, (2,)).tolist()
        [0.0, 0.0]
    """
    return deviation * bell(rng, shape) if deviation else np.zeros(shape)


def uniform_of(normal: Array) -> Array:
    """Map standard normal numbers nearly uniformly to (0, 1), with a logistic approximation.

    Example:
        >>> uniform_of(np.array(0.0)).item()
        0.5
    """
    return np.asarray(1.0 / (1.0 + np.exp(-1.702 * normal)), dtype=np.float64)
