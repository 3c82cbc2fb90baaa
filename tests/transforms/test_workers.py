"""Random transforms differ between the workers of a data loader."""

import pytest
import torch
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import Compose

from handgraph.datasets import SyntheticHands
from handgraph.transforms import (
    JitterKeypoints,
    RemoveJoints,
    RotateInPlane,
    SimulateOcclusion,
)

STEPS = [SimulateOcclusion(), RotateInPlane(), JitterKeypoints(), RemoveJoints(number=4)]


def repeated_hand(transform, size=8):
    """Return copies of one hand, so that all differences are due to the transform."""
    return SyntheticHands(1, transform=transform)[[0] * size]


def draws(loader):
    return torch.cat([batch.uv.reshape(-1, 21, 2) for batch in loader])


def stack(samples):
    """Collate samples for torch's own data loader."""
    return torch.stack([sample.uv for sample in samples])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_no_two_samples_get_the_same_numbers(num_workers):
    loader = DataLoader(repeated_hand(Compose(STEPS)), batch_size=2, num_workers=num_workers)
    uv = torch.cat([draws(loader), draws(loader)])  # two epochs
    assert len(uv.unique(dim=0)) == len(uv) == 16


def test_a_seed_repeats_an_epoch():
    hands = repeated_hand(Compose(STEPS))
    first, again, other = (
        draws(DataLoader(hands, 2, num_workers=2, generator=torch.Generator().manual_seed(seed)))
        for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_works_in_the_loader_of_torch():
    hands = repeated_hand(Compose(STEPS))
    loader = torch.utils.data.DataLoader(hands, batch_size=4, num_workers=2, collate_fn=stack)
    uv = torch.cat(list(loader))
    assert len(uv.unique(dim=0)) == 8


def test_a_generator_is_refused_in_workers():
    jitter = JitterKeypoints(generator=torch.Generator())

    def refused(hand):
        with pytest.raises(RuntimeError, match="every worker would draw the same numbers"):
            jitter(hand)
        return hand.update({"refused": torch.ones(1)})

    (batch,) = DataLoader(repeated_hand(refused, 2), batch_size=2, num_workers=1)
    assert batch.refused.tolist() == [1, 1]
    assert len(draws(DataLoader(repeated_hand(jitter), batch_size=2)).unique(dim=0)) == 8
