"""The GRPO losses against loops with derivatives by hand, against TRL's numbers, and against themselves when split."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qwen_lightning.errors import ConfigError
from qwen_lightning.losses import GRPOLoss, LossInputs, LossOutput, StepTotals

pytestmark = [
    pytest.mark.filterwarnings("ignore:loss. with importance_level"),
    pytest.mark.filterwarnings("ignore:loss. the gradient of k1"),
]

TRL = json.loads((Path(__file__).parents[1] / "fixtures/losses/trl_grpo.json").read_text(encoding="utf-8"))
LOSS_TYPES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo")
LIMIT = 9
BETA = 0.3


def make_inputs(rows: int = 7, tokens: int = 6, seed: int = 0) -> LossInputs:
    """Ragged rows with ratios on all sides of the clip range; one row masked, two KL-only; garbage as padding."""
    generator = torch.Generator().manual_seed(seed)

    def noise(scale: float) -> torch.Tensor:
        return scale * torch.randn(rows, tokens, generator=generator, dtype=torch.float64)

    old = noise(0.5) - 3
    lengths = torch.tensor([6, 3, 1, 0, 5, 4, 2])[torch.arange(rows) % 7]
    mask = torch.arange(tokens) < lengths[:, None]
    kl_only = torch.arange(rows) % 7 >= 5
    advantages = torch.randn(rows, generator=generator, dtype=torch.float64)
    values = {name: old + noise(0.5) for name in ("logprobs", "reference_logprobs")} | {
        "rollout_logprobs": old + noise(0.2)
    }
    values = {name: value.masked_fill(~mask, math.nan) for name, value in values.items()}
    return LossInputs(
        old_logprobs=old.masked_fill(~mask, -math.inf),
        mask=mask,
        advantages=advantages.masked_fill(kl_only, math.nan),
        kl_only=kl_only,
        **values,
    )


def totals_of(*inputs: LossInputs) -> StepTotals:
    return StepTotals.count((each.mask, each.kl_only) for each in inputs)


def differentiated(
    loss: GRPOLoss, inputs: LossInputs, totals: StepTotals, beta: float = BETA
) -> tuple[LossOutput, torch.Tensor]:
    leaf = inputs.logprobs.clone().requires_grad_()
    output = loss(replace(inputs, logprobs=leaf), totals, beta)
    (gradient,) = torch.autograd.grad(output.loss, leaf)
    return output, gradient


def by_hand(loss: GRPOLoss, inputs: LossInputs, beta: float) -> tuple[float, float, float, list[list[float]]]:
    """Loss, mean KL of policy and general rows, and the gradient, token by token, derivatives worked out on paper."""
    rows, tokens = inputs.logprobs.shape
    spans = [[t for t in range(tokens) if inputs.mask[i, t]] for i in range(rows)]
    policy = [i for i in range(rows) if not inputs.kl_only[i]]
    general = [i for i in range(rows) if inputs.kl_only[i]]
    policy_tokens = sum(len(spans[i]) for i in policy)
    general_tokens = sum(len(spans[i]) for i in general)
    total, gradient, kls = 0.0, [[0.0] * tokens for _ in range(rows)], {True: 0.0, False: 0.0}
    for i in range(rows):
        lp, old, ref = (getattr(inputs, n)[i].tolist() for n in ("logprobs", "old_logprobs", "reference_logprobs"))
        span = spans[i]
        is_general = i in general
        advantage = 0.0 if is_general else float(inputs.advantages[i])
        if is_general:
            scale = loss.general_kl_weight / general_tokens
        elif loss.loss_type == "grpo":
            scale = 1 / (len(policy) * max(len(span), 1))
        elif loss.loss_type == "dr_grpo":
            scale = 1 / (len(policy) * LIMIT)
        else:
            scale = 1 / policy_tokens
        for t in span:
            if loss.importance_level == "token":
                ratio, touched = math.exp(lp[t] - old[t]), {t: 1.0}
            else:
                ratio = math.exp(sum(lp[s] - old[s] for s in span) / len(span))
                touched = {s: 1 / len(span) for s in span}
            slope_ratio = 0.0  # derivative of the token's term by the ratio
            slope_own = 0.0  # and by its own log-prob where that appears directly
            if loss.loss_type == "cispo":
                held = min(ratio, loss.epsilon_high)
                term, slope_own = -held * advantage * lp[t], -held * advantage
            else:
                capped = ratio if loss.delta is None else min(ratio, loss.delta)
                clipped = max(1 - loss.epsilon_low, min(1 + loss.epsilon_high, ratio))
                term = -min(capped * advantage, clipped * advantage)
                if capped * advantage <= clipped * advantage:
                    slope_ratio = -advantage if loss.delta is None or ratio < loss.delta else 0.0
            d = ref[t] - lp[t]
            kl = {"k1": -d, "k2": d * d / 2, "k3": math.exp(d) - d - 1}[loss.kl_estimator]
            slope_kl = {"k1": 1.0, "k2": -d, "k3": 1 - math.exp(d)}[loss.kl_estimator]
            if loss.kl_importance_weighted:
                slope_ratio, slope_kl, kl = slope_ratio + beta * kl, slope_kl * ratio, kl * ratio
            total += scale * (term + beta * kl)
            kls[is_general] += kl
            gradient[i][t] += scale * (slope_own + beta * slope_kl)
            for s, weight in touched.items():
                gradient[i][s] += scale * slope_ratio * ratio * weight
    return total, kls[False] / policy_tokens, kls[True] / general_tokens, gradient


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_agrees_with_loops_and_derivatives_by_hand(loss_type, level, estimator, weighted):
    deltas = (None,) if loss_type == "cispo" else (None, 1.5)
    for delta, seed in itertools.product(deltas, range(3)):
        loss = GRPOLoss(
            loss_type,
            level,
            epsilon_low=0.2,
            epsilon_high=1.3 if loss_type == "cispo" else 0.28,
            delta=delta,
            kl_estimator=estimator,
            kl_importance_weighted=weighted,
            general_kl_weight=0.7,
            max_completion_length=LIMIT,
        )
        inputs = make_inputs(seed=seed)
        output, gradient = differentiated(loss, inputs, totals_of(inputs))
        expected, kl, general_kl, expected_gradient = by_hand(loss, inputs, BETA)
        assert output.loss.item() == pytest.approx(expected, abs=1e-12)
        for name, value in (("kl", kl), ("general_kl", general_kl)):
            measured = output.metrics[name]
            assert (measured[0] / measured[1]).item() == pytest.approx(value, abs=1e-12)
        torch.testing.assert_close(gradient, torch.tensor(expected_gradient, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", TRL["cases"], ids=lambda c: "-".join(str(v) for v in list(c.values())[:6]))
def test_agrees_with_trl(case):
    values = {name: torch.tensor(value, dtype=torch.float64) for name, value in TRL["inputs"].items()}
    values["mask"] = values["mask"].bool()
    settings = dict(TRL["settings"])
    beta = settings.pop("beta")
    level, _, mismatch = case["mismatch"].rpartition("_")
    loss = GRPOLoss(
        **settings,
        **{
            name: case[name]
            for name in ("loss_type", "importance_level", "kl_importance_weighted", "epsilon_high", "delta")
        },
        mismatch=mismatch,
        mismatch_level=level or "token",
    )
    inputs = LossInputs(kl_only=torch.zeros(len(values["mask"]), dtype=torch.bool), **values)
    output, gradient = differentiated(loss, inputs, totals_of(inputs), beta)
    assert output.loss.item() == pytest.approx(case["loss"], abs=1e-12)
    torch.testing.assert_close(gradient, torch.tensor(case["gradient"], dtype=torch.float64), rtol=0, atol=1e-12)
    assert (output.metrics["kl"][0] / output.metrics["kl"][1]).item() == pytest.approx(case["kl"], abs=1e-12)
    # At sequence level TRL counts the row without tokens as a completion that was not clipped; here it counts nowhere.
    counted = len(inputs.mask) if case["importance_level"] == "sequence" else int(inputs.mask.sum())
    for side, fraction in case["clip"].items():
        assert output.metrics[f"clip_{side}"][0].item() == pytest.approx(fraction * counted)


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_micro_batches_change_nothing(loss_type, level):
    """Loss, gradient and metrics of one batch are those of its parts, empty parts and padding rows included."""
    loss = GRPOLoss(loss_type, level, mismatch="truncate", max_completion_length=LIMIT)
    inputs = make_inputs(rows=21)
    totals = totals_of(inputs)
    whole, gradient = differentiated(loss, inputs, totals)
    parts = [slice(0, 1), slice(1, 9), slice(9, 9), slice(9, 21)]
    split = [
        LossInputs(**{n: getattr(inputs, n)[part] for n in inputs.__slots__ if getattr(inputs, n) is not None})
        for part in parts
    ]
    blank = replace(split[0], mask=torch.zeros_like(split[0].mask), kl_only=torch.ones_like(split[0].kl_only))
    assert totals_of(*split, blank) == totals
    results = [differentiated(loss, part, totals) for part in [*split, blank]]
    assert sum(output.loss.item() for output, _ in results) == pytest.approx(whole.loss.item(), abs=1e-12)
    torch.testing.assert_close(torch.cat([g for _, g in results[:-1]]), gradient, rtol=0, atol=1e-12)
    assert not results[-1][1].any(), "a padding row has no gradient"
    for name, value in whole.metrics.items():
        joined = torch.stack([output.metrics[name] for output, _ in results])
        torch.testing.assert_close(joined.max() if name.endswith("_max") else joined.sum(0), value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_mean_over_ranks_is_the_whole_batch(loss_type):
    """DDP's mean over ranks of unequal shares; bnpo averages over each rank's own tokens by definition."""
    loss = GRPOLoss(loss_type, max_completion_length=LIMIT)
    whole, first, second = make_inputs(14), make_inputs(14), make_inputs(14)
    first = LossInputs(**{n: getattr(whole, n)[:4] for n in whole.__slots__ if getattr(whole, n) is not None})
    second = LossInputs(**{n: getattr(whole, n)[4:] for n in whole.__slots__ if getattr(whole, n) is not None})
    shares = [totals_of(first), totals_of(second)]
    summed = shares[0].as_tensor() + shares[1].as_tensor()
    losses = [
        loss(inputs, totals.over_ranks(summed, 2), BETA).loss.item()
        for inputs, totals in zip((first, second), shares, strict=True)
    ]
    if loss_type != "bnpo":
        expected = loss(whole, totals_of(whole), BETA).loss.item()
    else:
        # Each rank's policy part is its own mean; the general rows are averaged over all ranks.
        without = GRPOLoss("bnpo", general_kl_weight=0.0)
        policy = [without(inputs, totals_of(inputs), BETA).loss.item() for inputs in (first, second)]
        all_rows = totals_of(whole)
        general = loss(whole, all_rows, BETA).loss.item() - without(whole, all_rows, BETA).loss.item()
        expected = sum(policy) / 2 + general
    assert sum(losses) / 2 == pytest.approx(expected, abs=1e-12)


def test_reference_equal_to_policy_has_no_kl_and_general_rows_have_kl_alone():
    inputs = make_inputs()
    same = replace(inputs, reference_logprobs=inputs.logprobs, old_logprobs=inputs.logprobs)
    output, gradient = differentiated(GRPOLoss(), same, totals_of(same))
    assert output.metrics["kl"][0] == 0
    assert output.metrics["general_kl"][0] == 0
    assert not gradient[same.kl_only].any()
    heavy = GRPOLoss(general_kl_weight=2.0)
    _, once = differentiated(GRPOLoss(), inputs, totals_of(inputs))
    _, twice = differentiated(heavy, inputs, totals_of(inputs))
    torch.testing.assert_close(twice[inputs.kl_only], 2 * once[inputs.kl_only])
    torch.testing.assert_close(twice[~inputs.kl_only], once[~inputs.kl_only])
    assert once[inputs.kl_only].any()


def test_gradients_of_the_kl_estimators_are_what_the_docstring_says():
    """Expected gradients over a small softmax: reverse KL for k2 and the weighted k1 and k3, forward for plain k3."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(5, generator=generator, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(5, generator=generator, dtype=torch.float64).log_softmax(0)
    policy = logits.log_softmax(0)
    (reverse,) = torch.autograd.grad((policy.exp() * (policy - reference)).sum(), logits, retain_graph=True)
    (forward,) = torch.autograd.grad((reference.exp() * (reference - policy)).sum(), logits, retain_graph=True)
    expected = {
        ("k1", False): torch.zeros(5, dtype=torch.float64),
        ("k1", True): reverse,
        ("k2", False): reverse,
        ("k3", False): forward,
        ("k3", True): reverse,
    }
    for (estimator, weighted), direction in expected.items():
        loss = GRPOLoss(kl_estimator=estimator, kl_importance_weighted=weighted)
        gradient = torch.zeros(5, dtype=torch.float64)
        for token in range(5):
            value = policy[token].reshape(1, 1)
            inputs = LossInputs(
                logprobs=value,
                old_logprobs=value.detach(),
                reference_logprobs=reference[token].reshape(1, 1),
                mask=torch.ones(1, 1, dtype=torch.bool),
                advantages=torch.zeros(1, dtype=torch.float64),
                kl_only=torch.zeros(1, dtype=torch.bool),
            )
            (part,) = torch.autograd.grad(loss(inputs, totals_of(inputs), 1.0).loss, logits, retain_graph=True)
            gradient += policy[token].exp().detach() * part
        torch.testing.assert_close(gradient, direction, rtol=0, atol=1e-12)


def test_mismatch_metrics_and_weights():
    inputs = make_inputs()
    inside = inputs.mask
    ratio = (inputs.old_logprobs - inputs.rollout_logprobs)[inside].exp()
    metrics = GRPOLoss(mismatch="mask", mismatch_cap=1.1)(inputs, totals_of(inputs), BETA).metrics
    assert (metrics["mismatch"][0] / metrics["mismatch"][1]).item() == pytest.approx(ratio.mean().item())
    assert metrics["mismatch_max"].item() == pytest.approx(ratio.max().item())
    assert metrics["mismatch_cut"].tolist() == [((ratio > 1.1) | (ratio < 1 / 1.1)).sum().item(), inside.sum().item()]
    assert (metrics["mismatch_kl"][0] / metrics["mismatch_kl"][1]).item() == pytest.approx(
        (ratio - 1 - ratio.log()).mean().item()
    )
    # A mask wide open and a truncation never reached weigh by the ratio itself; with equal log-probs by 1.
    wide = [
        GRPOLoss(mismatch=kind, mismatch_cap=1e6)(inputs, totals_of(inputs), BETA).loss for kind in ("mask", "truncate")
    ]
    assert wide[0] == wide[1]
    exact = replace(inputs, rollout_logprobs=inputs.old_logprobs)
    plain = GRPOLoss()(exact, totals_of(exact), BETA).loss
    assert GRPOLoss(mismatch="truncate")(exact, totals_of(exact), BETA).loss == plain
    assert wide[0] != plain


def test_metrics_are_declared_and_entropy_is_averaged_over_policy_rows():
    inputs = replace(make_inputs(), entropies=make_inputs().logprobs.nan_to_num().abs())
    metrics = GRPOLoss(mismatch="truncate")(inputs, totals_of(inputs), BETA).metrics
    assert set(metrics) == {*GRPOLoss.MEANS, *GRPOLoss.MAXIMA}
    assert all(metrics[name].shape == (2,) for name in GRPOLoss.MEANS)
    assert all(metrics[name].shape == () for name in GRPOLoss.MAXIMA)
    kept = inputs.entropies[inputs.mask & ~inputs.kl_only[:, None]]
    assert metrics["entropy"].tolist() == pytest.approx([kept.sum().item(), len(kept)])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"loss_type": "ppo"}, "loss_type 'ppo' is unknown"),
        ({"kl_estimator": "k4"}, "use one of k1, k2, k3"),
        ({"epsilon_low": 1.0}, "epsilon_low"),
        ({"loss_type": "cispo", "epsilon_high": 0.28}, "absolute cap"),
        ({"delta": 1.1}, "above 1 \\+ epsilon_high"),
        ({"loss_type": "cispo", "delta": 9.0}, "not with cispo"),
        ({"loss_type": "dr_grpo"}, "max_completion_length"),
        ({"general_kl_weight": math.nan}, "general_kl_weight"),
        ({"mismatch": "mask", "mismatch_cap": 0.5}, "mismatch_cap"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        GRPOLoss(**settings)


def test_doubtful_settings_warn():
    with pytest.warns(UserWarning, match="use loss_type grpo"):
        GRPOLoss("dapo", "sequence")
    with pytest.warns(UserWarning, match="holds nothing back"):
        GRPOLoss(kl_estimator="k1", kl_importance_weighted=False)


def test_inputs_that_do_not_fit_are_refused():
    inputs = make_inputs()
    with pytest.raises(ValueError, match="advantages"):
        replace(inputs, advantages=inputs.advantages[:2])
    with pytest.raises(ValueError, match="mask must be bool"):
        replace(inputs, mask=inputs.mask.int())
    with pytest.raises(ValueError, match="rollout_logprobs"):
        GRPOLoss(mismatch="mask")(replace(inputs, rollout_logprobs=None), totals_of(inputs), BETA)
    with pytest.raises(ValueError, match="beta"):
        GRPOLoss()(inputs, totals_of(inputs), -0.1)
