import json
from dataclasses import replace

import pytest
import torch

from handgraph.datasets import write_rhd
from pipeline.hands import Order, batches, jittered, load
from pipeline.settings import Settings, differences

SETTINGS = Settings(samples=12, image_size=32, batch_size=4)
CPU = torch.device("cpu")


def test_an_epoch_has_every_hand_once_and_the_next_another_order():
    order = Order(12, 4, seed=3, step=2)
    first, second = ([x for i in range(3) for x in order.batch(3 * e + i)] for e in range(2))
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second
    for other in (replace(order, seed=4), replace(order, step=3)):
        assert order.batch(0) != other.batch(0)
    assert order.batch(5) == Order(12, 4, seed=3, step=2).batch(5)


def test_processes_share_hands_and_jitter_of_the_joined_batch():
    joined = Order(12, 4, seed=0, step=1)
    shares = [replace(joined, rank=rank, world=2) for rank in range(2)]
    pairs = zip(*(share.batch(1) for share in shares), strict=True)
    assert [hand for pair in pairs for hand in pair] == joined.batch(1)
    drawn = torch.stack([s.jitter(1, 0.2) for s in shares], dim=1).flatten(0, 1)
    assert torch.equal(drawn, joined.jitter(1, 0.2))
    assert drawn.abs().max() <= 0.2
    assert drawn.abs().max() > 0.1


@pytest.mark.parametrize(("size", "world"), [(5, 2), (13, 1), (0, 1)])
def test_batches_that_cannot_be_shared_are_refused(size, world):
    with pytest.raises(ValueError, match=f"that {world} processes share evenly, got {size}"):
        Order(12, size, 0, 1, 0, world)


def test_settings_are_restored_from_json_and_differences_named():
    settings = replace(SETTINGS, method="cai", rates=(1, 2, 3, 4))
    assert Settings(**json.loads(settings.to_json())) == settings
    assert differences(settings, SETTINGS)[0] == "method was 'cai', is 'psjnet'"
    assert differences(settings, replace(settings, seed=1), ("method",)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 100}, "image_size: expected a multiple of 32, got 100"),
        ({"epochs": (1, 2)}, "epochs: expected one number for each of 4 steps"),
        ({"data": "rhd"}, "root: needed for rhd"),
        ({"data": "freihand"}, r"data: expected one of \('synthetic', 'rhd'\), got 'freihand'"),
        ({"precision": "16"}, "precision: expected one of .*'bf16-mixed'.*, got '16'"),
        ({"epochs": (1, 1, 1, -1)}, "epochs: expected 0 or more"),
        ({"iterations": (1, -1, 1, 1)}, "iterations: expected 0 or more"),
        ({"samples": -3}, "samples: expected 0 or more, got -3"),
        ({"batch_size": 0}, "batch_size: expected 1 or more, got 0"),
        ({"rates": (1, 1, 1, float("nan"))}, "rates: expected finite numbers"),
    ],
)
def test_settings_refuse_nonsense(change, message):
    with pytest.raises(ValueError, match=message):
        Settings(**change)


def test_every_method_has_as_many_epochs():
    settings = Settings(epochs=(20, 8, 4, 8), batch_size=10)
    assert settings.length(2, (1, 2, 3, 4), 105) == 80
    assert settings.length(2, (1, 2), 105) == 10 * (8 + 4 + 8)
    assert settings.length(2, (1, 2, 4), 105) == 10 * (8 + 4)
    assert replace(settings, iterations=(5, 6, 7, 8)).length(2, (1, 2), 105) == 21


def test_the_recipe_of_a_step_has_its_rate():
    settings = replace(SETTINGS, rates=(1, 2, 3, 4))
    assert [settings.recipe(step).rate for step in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert settings.recipe(1).batch_size == 4


def test_jitter_is_gain_and_shift_of_each_channel():
    image = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    amounts = torch.tensor([[[0.1, 0.0, 0.0], [0.0, 0.1, 1.0]]])
    out = jittered({"image": image}, amounts)["image"][0, :, 0, 0]
    assert out.tolist() == [110, 126, 255]  # 100 + 25.5 rounds to even


def test_hands_of_training_and_validation_differ():
    first, second = (load(SETTINGS, split, 4) for split in ("training", "validation"))
    assert len(load(SETTINGS, "training")) == 12
    assert not torch.equal(first.tensors["xyz"], second.tensors["xyz"])


def test_rendered_batches_are_the_samples_of_the_dataset():
    hands = load(SETTINGS, "training", 4)
    batch = next(batches(hands, [[2, 0]], CPU))
    for place, number in enumerate((2, 0)):
        sample = hands[number]
        assert torch.equal(batch["image"][place], sample.image[0])
        assert torch.equal(batch["depth"][place], sample.depth[0])
        for name in ("uv_true", "xyz", "visible", "d"):
            assert torch.equal(batch[name][place], sample[name])
        assert torch.equal(batch["K"][place], sample.K[0])
        assert torch.equal(batch["s"][place], sample.s[0])


def test_rhd_is_read_in_batches_of_the_same_names(tmp_path):
    write_rhd(tmp_path, "training", list(load(SETTINGS, "training", 4)))
    settings = replace(SETTINGS, data="rhd", root=str(tmp_path), samples=0)
    hands = load(settings, "training")
    held_out = load(settings, "validation")
    assert hands.sample_ids.tolist() == [0, 1, 2]
    assert held_out.sample_ids.tolist() == [3]
    assert len(load(replace(settings, samples=2), "training")) == 2
    ours = next(batches(load(SETTINGS, "training", 4), [[0, 1]], CPU))
    theirs = next(batches(hands, [[0, 1]], CPU))
    assert {n: v.shape for n, v in theirs.items()} == {n: v.shape for n, v in ours.items()}
    assert all(theirs[n].dtype == ours[n].dtype for n in ours)
    order = Order(3, 1, seed=0, step=1)
    todo = [order.batch(i) for i in range(5)]
    alone, shared = (list(batches(hands, todo, CPU, workers)) for workers in (0, 2))
    assert len(alone) == len(shared) == 5
    for first, second in zip(alone, shared, strict=True):
        assert all(torch.equal(first[name], second[name]) for name in ours)


def test_a_negative_number_of_hands_is_refused():
    for data in ({}, {"data": "rhd", "root": "nowhere"}):
        with pytest.raises(ValueError, match="0 or more evaluation hands, got -2"):
            load(Settings(**data), "evaluation", -2)


@pytest.mark.parametrize(("number", "trained_on"), [(4, 3), (30, 27), (41258, 40758)])
def test_held_out_hands_are_a_tenth_or_500(monkeypatch, number, trained_on):
    monkeypatch.setattr("pipeline.hands.RHDHands", lambda *args, **kwargs: range(number))
    settings = replace(SETTINGS, data="rhd", root="somewhere", samples=0)
    assert load(settings, "training") == range(trained_on)
    assert load(settings, "validation") == range(trained_on, number)
    assert load(settings, "evaluation", 2) == range(2)
