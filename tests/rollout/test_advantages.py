"""Group advantages against loops, against TRL's numbers, and at the edges."""

import json
import math
import statistics
from pathlib import Path

import pytest
import torch

from qwen_lightning.rollout.advantages import flat_fraction, flat_groups, group_advantages, reward_std

TRL = json.loads((Path(__file__).parents[1] / "fixtures/losses/trl_grpo.json").read_text(encoding="utf-8"))[
    "advantages"
]
NAN = math.nan


@pytest.mark.parametrize("case", TRL["cases"], ids=lambda case: case["scale"])
def test_agrees_with_trl(case):
    rewards = torch.tensor([[NAN if x is None else x for x in row] for row in TRL["rewards"]], dtype=torch.float64)
    expected = torch.tensor(case["advantages"], dtype=torch.float64)
    # TRL's n / (n - 1) is a division of integers, in fp32 whatever the rewards are.
    torch.testing.assert_close(group_advantages(rewards, case["scale"]), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_agrees_with_loops(scale):
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    rewards[torch.rand(6, 5, generator=generator) < 0.3] = NAN
    everything = [x for row in rewards.tolist() for x in row if x == x]
    for row, got in zip(rewards.tolist(), group_advantages(rewards, scale).tolist(), strict=True):
        kept = [x for x in row if x == x]
        for reward, advantage in zip(row, got, strict=True):
            if reward != reward or len(kept) < 2:
                assert advantage == 0
                continue
            divisor = {
                "group": statistics.stdev(kept) + 1e-4,
                "batch": statistics.stdev(everything) + 1e-4,
                "none": 1.0,
            }[scale]
            assert advantage == pytest.approx((reward - statistics.mean(kept)) / divisor, abs=1e-12)


def test_null_rows_leave_the_statistics():
    with_null = group_advantages(torch.tensor([[1.0, 0.0, NAN, 0.5]]))
    assert with_null[0, 2] == 0
    torch.testing.assert_close(with_null[0, [0, 1, 3]], group_advantages(torch.tensor([[1.0, 0.0, 0.5]]))[0])


def test_batch_scale_takes_the_std_of_all_ranks():
    ranks = torch.tensor([[[0.0, 1.0], [2.0, NAN]], [[5.0, 9.0], [1.0, 1.5]]])
    std = reward_std(ranks)
    assert std.item() == pytest.approx(statistics.stdev([0, 1, 2, 5, 9, 1, 1.5]), rel=1e-6)
    by_rank = torch.cat([group_advantages(rank, "batch", std) for rank in ranks])
    torch.testing.assert_close(by_rank, group_advantages(ranks.reshape(4, 2), "batch"))


def test_flat_groups_have_exactly_no_advantage():
    # The mean of three fp32 0.1 is not 0.1; divided by 1e-4 the rounding would train.
    rewards = torch.tensor([[0.1, 0.1, 0.1], [1.0, NAN, NAN], [NAN, NAN, NAN], [0.0, 1.0, NAN]])
    assert flat_groups(rewards).tolist() == [True, True, True, False]
    assert flat_fraction(rewards).item() == 0.75
    assert not group_advantages(rewards)[:3].any()
    assert group_advantages(rewards)[3].tolist() == pytest.approx([-0.70701, 0.70701, 0], abs=1e-4)


def test_a_group_of_one_and_no_groups():
    assert group_advantages(torch.tensor([[3.0], [4.0]])).tolist() == [[0], [0]]
    assert group_advantages(torch.tensor([[3.0], [4.0]]), "batch").tolist() == [[0], [0]]
    assert group_advantages(torch.zeros(0, 4)).shape == (0, 4)
    assert flat_fraction(torch.zeros(0, 4)).item() == 0


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="group size"):
        group_advantages(torch.zeros(4))
    with pytest.raises(ValueError, match="'std' is unknown"):
        group_advantages(torch.zeros(2, 2), "std")
    with pytest.raises(ValueError, match="infinite"):
        group_advantages(torch.tensor([[1.0, math.inf]]))
