import torch

from handgraph.datasets.render.counters import split_mix, uniform

GAMMA = 0x9E3779B97F4A7C15


def reference(state):
    """Compute SplitMix64's output function with Python integers."""
    z = state % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_the_published_sequence():
    """The first numbers of SplitMix64 with seed 1234567 match its test vectors."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    states = [(1234567 + k * GAMMA + 2**63) % 2**64 - 2**63 for k in (1, 2, 3)]
    found = [int(n) % 2**64 for n in split_mix(torch.tensor(states))]
    assert found == expected == [reference(1234567 + k * GAMMA) for k in (1, 2, 3)]


def test_numbers_depend_on_seed_sample_and_place_only():
    all_of_them = uniform(5, torch.arange(100), 30)
    assert torch.equal(uniform(5, torch.tensor([70, 3]), 10), all_of_them[[70, 3], :10])
    assert not torch.equal(uniform(6, torch.arange(100), 30), all_of_them)
    assert len(all_of_them.unique()) > 2990


def test_numbers_are_uniform():
    numbers = uniform(0, torch.arange(500), 200)
    assert numbers.dtype == torch.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = torch.histc(numbers, 20, 0, 1)
    assert ((counts - 5000).square() / 5000).sum() < 50  # chi square, 19 degrees of freedom
    columns = torch.corrcoef(numbers[:, :20].T) - torch.eye(20)
    assert columns.abs().max() < 0.2


def test_large_seeds():
    assert not torch.equal(uniform(2**64 - 1, torch.arange(3), 3), uniform(0, torch.arange(3), 3))
    assert torch.equal(uniform(2**64 + 7, torch.arange(3), 3), uniform(7, torch.arange(3), 3))
