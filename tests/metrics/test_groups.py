from __future__ import annotations

import pytest
import torch

from handgraph import HAND, RHD, Skeleton
from handgraph.metrics import (
    auc,
    joint_auc,
    occlusion_groups,
    pck_curve,
    per_group,
    per_joint,
    per_occlusion,
    relative_value,
    thresholds,
    visible_mean,
)

LEVELS = ["TIP", "DIP", "PIP", "MCP"]
FINGERS = ["thumb", "index", "middle", "ring", "pinky"]


def draw(num_images=60):
    rng = torch.Generator().manual_seed(0)
    errors = 0.1 * torch.rand(num_images, 21, generator=rng, dtype=torch.float64)
    shown = torch.rand(num_images, 1, generator=rng)
    return errors, torch.rand(num_images, 21, generator=rng) < shown


def test_eleven_visible_joints_are_small_occlusion_and_ten_severe():
    visible = torch.arange(21) < torch.arange(22).unsqueeze(-1)  # 0, 1, ..., 21 visible joints
    groups = occlusion_groups(visible)
    assert list(groups) == ["all", "small", "severe"]
    assert groups["all"].all()
    assert groups["small"].nonzero().flatten().tolist() == list(range(11, 22))
    assert groups["severe"].nonzero().flatten().tolist() == list(range(11))


def test_groups_keep_leading_dimensions_and_limit():
    visible = torch.arange(5) < torch.tensor([[5, 3], [2, 0]]).unsqueeze(-1)
    assert occlusion_groups(visible, 3)["small"].tolist() == [[True, True], [False, False]]
    assert occlusion_groups(visible[0, 0], 5)["small"].item() is True


def test_wrong_groups_arguments():
    visible = torch.ones(2, 21, dtype=torch.bool)
    with pytest.raises(TypeError, match=r"visible as torch.bool, got torch.float32"):
        occlusion_groups(visible.float())
    with pytest.raises(ValueError, match=r"visible of shape \[\*, J\], got \[\]"):
        occlusion_groups(visible[0, 0])
    for wrong in (0, 22):
        with pytest.raises(ValueError, match=f"min_visible to be from 1 to 21, got {wrong}"):
            occlusion_groups(visible, wrong)
    with pytest.raises(TypeError, match="min_visible as int, got float"):
        occlusion_groups(visible, 10.5)


@pytest.mark.parametrize("average", ["pooled", "joint"])
def test_per_occlusion_matches_the_curve_of_each_subset(average):
    errors, visible = draw()
    grid = thresholds(dtype=torch.float64)
    table = per_occlusion(joint_auc(errors, grid, visible), visible, average=average)
    enough = torch.tensor([sum(row) > 10 for row in visible.tolist()])
    assert 5 < enough.sum() < 55
    subsets = {"all": enough | True, "small": enough, "severe": ~enough}
    assert table.keys() == subsets.keys()
    for name, images in subsets.items():
        curve = pck_curve(errors[images], grid, visible[images], average=average)
        torch.testing.assert_close(table[name], auc(curve, grid))


def test_all_is_the_weighted_mean_of_small_and_severe():
    errors, visible = draw()
    table = per_occlusion(errors, visible)
    severe = occlusion_groups(visible)["severe"]
    share = visible[severe].sum() / visible.sum()
    expected = (1 - share) * table["small"] + share * table["severe"]
    torch.testing.assert_close(table["all"], expected)


def test_a_group_without_images_is_nan():
    table = per_occlusion(torch.ones(3, 21), torch.ones(3, 21, dtype=torch.bool))
    assert table["severe"].isnan()
    assert table["small"] == table["all"] == 1


def test_per_occlusion_limit_and_wrong_shapes():
    visible = torch.arange(5).expand(2, 5) < torch.tensor([[5], [1]])
    values = torch.tensor([[1.0], [4.0]]).expand(2, 5)
    assert per_occlusion(values, visible, min_visible=1)["small"].item() == 1.5
    assert per_occlusion(values, visible, min_visible=2)["severe"].item() == 4.0
    with pytest.raises(ValueError, match=r"\[2, 5\], got \[5\]"):
        per_occlusion(values, visible[0])
    with pytest.raises(TypeError, match="values as float32"):
        per_occlusion(values.long(), visible)


@pytest.mark.parametrize(
    ("small", "severe", "published"),
    [(0.4061, 0.3006, 0.7402), (0.4624, 0.3869, 0.8366), (0.4901, 0.4394, 0.8965)],
)
def test_relative_values_of_table_2(small, severe, published):
    ratio = relative_value(small=torch.tensor(small), severe=torch.tensor(severe))
    assert ratio.item() == pytest.approx(published, abs=2e-4)


def test_relative_value_of_an_empty_group_is_nan():
    nan = torch.nan
    small = torch.tensor([0.0, 0.0, nan, 0.5, 0.5])
    severe = torch.tensor([0.0, 0.5, 0.5, nan, 0.0])
    ratio = relative_value(small=small, severe=severe)
    assert ratio[:4].isnan().all()
    assert ratio[4] == 0


def test_wrong_relative_value_arguments():
    with pytest.raises(TypeError, match=r"small as torch.Tensor, got float"):
        relative_value(small=0.5, severe=0.4)
    with pytest.raises(TypeError, match="severe in the dtype of small"):
        relative_value(small=torch.tensor(0.5), severe=torch.tensor(0.4).double())
    with pytest.raises(ValueError, match=r"severe of shape \[2\]"):
        relative_value(small=torch.ones(2), severe=torch.ones(()))


@pytest.mark.parametrize("skeleton", [HAND, RHD])
def test_per_joint_by_name(skeleton):
    errors, visible = draw()
    table = per_joint(errors, visible, skeleton=skeleton)
    assert list(table) == list(skeleton.joints)
    column = skeleton.index("ring_dip")
    shown = [e for e, v in zip(errors[:, column], visible[:, column], strict=True) if v]
    torch.testing.assert_close(table["ring_dip"], sum(shown) / len(shown))


def test_per_joint_auc_matches_each_joints_curve():
    errors, visible = draw()
    grid = thresholds(dtype=torch.float64)
    table = per_joint(joint_auc(errors, grid, visible), visible)
    for name, value in table.items():
        j = [HAND.index(name)]
        torch.testing.assert_close(value, auc(pck_curve(errors[:, j], grid, visible[:, j]), grid))


def test_tables_do_not_depend_on_the_order_of_the_joints():
    errors, visible = draw()
    order = RHD.index_from(HAND)
    for table in (per_joint, per_group):
        ours = table(errors, visible)
        theirs = table(errors[:, order], visible[:, order], skeleton=RHD)
        assert ours.keys() == theirs.keys()
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name])


def test_per_group_covers_levels_and_fingers():
    errors, visible = draw()
    table = per_group(errors, visible)
    assert set(table) >= {*LEVELS, *FINGERS}
    assert list(per_group(errors, visible, groups=LEVELS)) == LEVELS
    for names in (LEVELS, FINGERS):  # each partitions the hand without its wrist
        weights = [visible[:, HAND.select(name)].sum() for name in names]
        pooled = sum(w * table[n] for w, n in zip(weights, names, strict=True)) / sum(weights)
        torch.testing.assert_close(pooled, visible_mean(errors[:, 1:], visible[:, 1:]))


@pytest.mark.parametrize("average", ["pooled", "joint"])
def test_per_group_is_the_mean_of_its_columns(average):
    errors, visible = draw()
    columns = [HAND.index(f"{finger}_tip") for finger in FINGERS]
    expected = visible_mean(errors[:, columns], visible[:, columns], average=average)
    table = per_group(errors, visible, groups=["TIP", "wrist"], average=average)
    torch.testing.assert_close(table["TIP"], expected)
    torch.testing.assert_close(table["wrist"], per_joint(errors, visible)["wrist"])


def test_joint_without_visible_samples_is_nan():
    errors, visible = draw()
    visible[:, HAND.select("TIP")] = False
    assert per_joint(errors, visible)["index_tip"].isnan()
    assert per_group(errors, visible)["TIP"].isnan()
    assert per_group(errors, visible)["index"].isfinite()


def test_tables_of_a_toy_skeleton():
    toy = Skeleton("toy", ["a", "b"], [("a", "b")], groups={"ends": ["a", "b"]})
    values = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert per_joint(values, skeleton=toy) == {"a": 2.0, "b": 4.0}
    assert per_group(values, skeleton=toy) == {"ends": 3.0}


@pytest.mark.parametrize("table", [per_joint, per_group])
def test_wrong_table_arguments(table):
    with pytest.raises(ValueError, match=r"21 joints of skeleton .*, got 20 joints: \[4, 20\]"):
        table(torch.ones(4, 20))
    with pytest.raises(ValueError, match=r"\[4, 21\], got \[21\]"):
        table(torch.ones(4, 21), torch.ones(21).bool())
    with pytest.raises(TypeError, match="values as float32 or float64"):
        table(torch.ones(4, 21).long())


def test_unknown_group():
    with pytest.raises(ValueError, match="no joint 'toes'"):
        per_group(torch.ones(4, 21), groups=["toes"])
