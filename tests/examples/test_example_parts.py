"""Code that the examples share: the training loop, the order of samples, atomic files."""

from itertools import islice

import pytest
import torch
from torch import nn

from shared.files import write_text, written
from shared.training import MAX_NORM, Recipe, batches, minimize, warm_cosine


def nets():
    torch.manual_seed(0)
    return nn.Linear(3, 4), nn.Linear(4, 1)


def losses(first, second, steps):
    rng = torch.Generator().manual_seed(0)
    for _ in range(steps):
        x = torch.randn(8, 3, generator=rng)
        yield 100 * second(first(x).relu()).square().mean()


@pytest.mark.parametrize("fused", [None, True])
def test_a_recipe_is_adam_with_one_cycle_and_a_clip_for_each_group(fused):
    ours, theirs = nets(), nets()
    groups = [net.parameters() for net in ours]
    minimize(losses(*ours, 6), *Recipe(0.05, fused=fused).start(groups, 6))
    parameters = [p for net in theirs for p in net.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.05, fused=fused)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=7)
    for loss in losses(*theirs, 6):
        optimizer.zero_grad()
        loss.backward()
        norms = [nn.utils.clip_grad_norm_(net.parameters(), MAX_NORM) for net in theirs]
        assert min(norms) > MAX_NORM
        optimizer.step()
        schedule.step()
    for net, twin in zip(ours, theirs, strict=True):
        for value, wanted in zip(net.parameters(), twin.parameters(), strict=True):
            assert torch.equal(value, wanted)


def test_rate_rises_in_a_line_and_falls_as_a_cosine():
    optimizer, schedule = Recipe(2.0, schedule=warm_cosine).start([[torch.zeros(1)]], 1000)
    rates = []
    for _ in range(1000):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:2] == pytest.approx([0.04, 0.08])
    assert rates[49] == rates[50] == 2
    assert rates[525] == pytest.approx(1.01)  # half of the way, to 0.02
    assert rates[-1] == pytest.approx(0.02, abs=2e-4)


@pytest.mark.parametrize("power", [0.5, -1.0])  # an infinite gradient, and an infinite loss too
def test_non_finite_gradient_raises_and_changes_no_parameter(power):
    first, second = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(2))
    loss = (first.abs() ** power).sum() + second.sum()
    with pytest.raises(FloatingPointError, match="the gradient has norm .*, the loss is"):
        minimize([loss], *Recipe(1.0).start([[second], [first]], 1))
    assert torch.equal(first, torch.zeros(2))
    assert torch.equal(second, torch.ones(2))


def test_an_epoch_has_every_sample_once_and_the_next_another_order():
    found = list(batches(10, 4, 2, torch.Generator().manual_seed(0)))
    assert [len(some) for some in found] == [4, 4, 2] * 2
    epochs = [torch.cat(found[:3]), torch.cat(found[3:])]
    assert all(epoch.sort().values.tolist() == list(range(10)) for epoch in epochs)
    assert not torch.equal(*epochs)
    again = islice(batches(10, 4, 2, torch.Generator().manual_seed(0)), 3)
    assert torch.equal(torch.cat(list(again)), epochs[0])


def write_half(path):
    with written(path) as part:
        part.write_text("half")
        raise RuntimeError("stop")


def test_file_is_written_completely_or_not_at_all(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "first")
    with pytest.raises(RuntimeError, match="stop"):
        write_half(path)
    assert path.read_text() == "first"
    write_text(path, "second")
    assert path.read_text() == "second"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]
