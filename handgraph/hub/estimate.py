"""Estimates of a lifter: poses, expected errors and visibility."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad


class Estimate(NamedTuple):
    """Poses with their expected errors, visibilities and probabilities.

    Different hands may have the same 2D joints: a finger that points toward the camera looks like
    one that points away. A lifter with several hypotheses estimates each of these hands. With one
    hypothesis, it estimates their mean, which may be an impossible hand.

    Shapes:
        pose: ``[*, J, 3]``, the most probable hypothesis, relative to the root, in keybone lengths.
        error: ``[*, J]``, the expected error of each joint, in keybone lengths.
        visible: ``[*, J]``, the probability that each joint is visible in the image.
        missing: Bool ``[*, J]``, whether a joint is inferred from the others.
        hypotheses: ``[*, K, J, 3]``, all poses.
        weights: ``[*, K]``, the probability of each hypothesis.

    Example:
        >>> import torch
        >>> from handgraph.hub import KeypointLifter
        >>> found = KeypointLifter(hypotheses=2).estimate(torch.rand(8, 21, 2))
        >>> found.error.shape, found.hypotheses.shape
        (torch.Size([8, 21]), torch.Size([8, 2, 21, 3]))
        >>> torch.allclose(found.weights.sum(dim=-1), torch.ones(8))
        True
    """

    pose: Tensor
    error: Tensor
    visible: Tensor
    missing: Tensor
    hypotheses: Tensor
    weights: Tensor


def num_outputs(num_joints: int, hypotheses: int) -> int:
    """Return the number of outputs for each hand that :func:`read_estimate` expects."""
    return num_joints * (3 * hypotheses + 2) + hypotheses - 1


def read_estimate(output: Tensor, hypotheses: int, root: int, missing: Tensor) -> Estimate:
    """Convert the output of a network ``[*, num_outputs]``.

    The output has K positions, the logarithm of the error and the logit of the visibility for each
    joint, then the logits of all hypotheses except the first. The first logit is 0.
    """
    size = missing.shape[-1]
    joints, logits = output.tensor_split([size * (3 * hypotheses + 2)], dim=-1)
    joints = joints.unflatten(-1, (size, -1))
    positions, error, visible = joints.split((3 * hypotheses, 1, 1), dim=-1)
    poses = positions.unflatten(-1, (hypotheses, 3)).movedim(-2, -3)
    poses = poses - poses[..., root : root + 1, :]
    weights = pad(logits, (1, 0)).softmax(dim=-1)
    likeliest = weights.argmax(dim=-1)[..., None, None, None].expand_as(poses[..., :1, :, :])
    return Estimate(
        poses.gather(-3, likeliest).squeeze(-3),
        error.squeeze(-1).exp(),
        visible.squeeze(-1).sigmoid(),
        missing,
        poses,
        weights,
    )


def mirrored(found: Estimate, mirror: Tensor) -> Estimate:
    """Multiply the coordinates of all poses by ``mirror``."""
    return found._replace(pose=found.pose * mirror, hypotheses=found.hypotheses * mirror)


def nan_unless(found: Estimate, enough: Tensor) -> Estimate:
    """Set hands to NaN where ``enough [*]`` is ``False``."""
    keep = {
        name: value.where(enough[(..., *(None,) * (value.dim() - enough.dim()))], torch.nan)
        for name, value in found._asdict().items()
        if name != "missing"
    }
    return found._replace(**keep)
