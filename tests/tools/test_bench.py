"""The benchmarks of speed: every case and way gets a row with figures that can be, on the model that training has."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from random import Random

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from torch.utils.flop_counter import FlopCounterMode

from qwen_lightning.errors import ConfigError
from qwen_lightning.models.backbone import load_backbone
from qwen_lightning.models.policy import PolicyModel
from qwen_lightning.rollout.generate import GenerateRollout
from qwen_lightning.rollout.grouped import GroupedRollout
from tests.conftest import Stage
from tools import bench_grpo_step, bench_rollout, bench_sft, bench_update
from tools.bench import __main__ as all_of_them
from tools.bench import model as bench_model
from tools.bench.cases import SFTCase, rollout_case
from tools.bench.flops import ModelFlops, Work
from tools.bench.model import NumberedWords, random_backbone, random_policy, stops_for
from tools.bench.shapes import SHAPES
from tools.demo.tiny import TinyDemo

CPU = torch.device("cpu")
QUICK = ["--device", "cpu", "--shape", "tiny", "--runs", "1", "--warmup", "1"]
Table = list[dict[str, str]]


def table(printed: str) -> Table:
    """The Markdown table that ends what was printed, column to cell."""
    header, rule, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line.startswith("|")
    ]
    assert all(set(cell) <= {"-", ":"} for cell in rule)
    widths = {len(line) for line in printed.splitlines() if line.startswith("|")}
    assert len(widths) == 1, "aligned"
    return [dict(zip(header, row, strict=True)) for row in rows]


def number(cell: str) -> float:
    return float(cell.replace(",", "").removesuffix(" %"))


def check_figures(rows: Table) -> None:
    for row in rows:
        assert 0 < number(row["s (least)"]) <= number(row["s"])
        assert number(row["CPU s"]) > 0
        assert number(row["tokens/s"]) > 0
        assert number(row["ratio"]) > 0
        assert number(row["MFU"]) > 0


def test_rollout_has_a_row_for_each_engine_and_its_figures_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rollout.json"
    bench_rollout.main([*QUICK, "--cases", "2x2:16/4", "1x3:8/5", "--quantization", "nf4", "--json", str(path)])
    printed = capsys.readouterr().out
    rows = table(printed)
    engines = ["generate", "grouped-resident", "grouped-merged"]
    assert [row["how"] for row in rows] == engines * 2
    assert [row["case"] for row in rows] == ["2x2:16/4 nf4"] * 3 + ["1x3:8/5 nf4"] * 3
    assert [row["ratio"] for row in rows[::3]] == ["1", "1"]
    check_figures(rows)
    for said in ("machine: CPU", f"torch {torch.__version__}", "shape tiny", "matrix product: "):
        assert said in printed.split("\n\n")[1]
    found = json.loads(path.read_text("utf-8"))
    assert [row["tokens"] for row in found["rows"]] == [16, 16, 16, 15, 15, 15]
    assert found["settings"]["shape"] == "tiny"
    for row, shown in zip(found["rows"], rows, strict=True):
        assert row["tokens_per_second"] == pytest.approx(row["tokens"] / row["laps"][0]["clock"])
        assert shown["tokens/s"] == f"{row['tokens_per_second']:,.0f}"
        base = next(other for other in found["rows"] if other["case"] == row["case"])
        assert (row["ratio"] or 1) == pytest.approx(row["tokens_per_second"] / base["tokens_per_second"])
    # A prompt that is computed once takes fewer operations than one that is computed for each completion.
    assert found["rows"][1]["flops"] < found["rows"][0]["flops"]


def test_update_counts_what_each_layout_computes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "update.json"
    bench_update.main([*QUICK, "--cases", "2x4:24/8", "--json", str(path)])
    rows = table(capsys.readouterr().out)
    assert [row["how"] for row in rows] == ["one row a completion", "shared prompts"]
    check_figures(rows)
    each, once = json.loads(path.read_text("utf-8"))["rows"]
    assert each["tokens"] == once["tokens"] == 2 * 4 * (24 + 8) + (24 + 8), "the general prompt's, too"
    policy = random_policy(SHAPES["tiny"], "none", "float32", CPU, False)
    groups = [(24, [8] * 4), (24, [8] * 4), (24, [8])]
    assert each["flops"] == ModelFlops.of(policy).training(Work.rows(groups))
    assert once["flops"] == ModelFlops.of(policy).training(Work.shared(groups))


def test_step_names_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    bench_grpo_step.main([*QUICK, "--cases", "2x4:24/8", "--stop-rate", "0.5"])
    rows = table(capsys.readouterr().out)
    assert [row["how"] for row in rows] == list(bench_grpo_step.WAYS)
    check_figures(rows)
    for row in rows:
        *parts, difference = row["note"].split(", ")
        sample, update = (float(part.split()[0]) for part in parts)
        assert 0 < sample < number(row["s"])
        assert 0 < update < number(row["s"])
        assert float(difference.split()[-1]) < 1e-5, "in fp32 the engines sample what the trainer computes"


def test_the_demos_own_step(trained: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo: TinyDemo = trained.demo
    shutil.copytree(demo.root, tmp_path / "demo")
    shutil.copytree(trained.folder / "adapters", tmp_path / "demo" / "adapters")
    bench_grpo_step.main([*QUICK, "--warmup", "0", "--quantization", "none", "--demo", str(tmp_path / "demo")])
    rows = table(capsys.readouterr().out)
    assert {row["case"] for row in rows} == {"demo 16x8:sql/40 fp32"}
    check_figures(rows)
    with pytest.raises(SystemExit) as stopped:
        bench_grpo_step.main([*QUICK, "--demo", str(tmp_path)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {tmp_path}/adapters/base-sft: no such adapter folder\n")


def test_sft_has_a_row_for_each_layout_and_peer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sft.json"
    options = ["--cases", "2x32", "2x~64", "--micro-batches", "2", "--json", str(path)]
    bench_sft.main([*QUICK, *options])
    rows = table(capsys.readouterr().out)
    ways = ["one row an example", "packed"]
    assert [row["how"] for row in rows] == [*ways, *ways, "transformers", "transformers"]
    check_figures(rows)
    tokens = [row["tokens"] for row in json.loads(path.read_text("utf-8"))["rows"]]
    assert tokens == [tokens[0]] * 2 + [tokens[2]] * 2 + [tokens[0], tokens[2]]
    assert tokens[0] == 2 * 2 * 32
    assert 0 <= 2 * 2 * 64 - tokens[2] < 2


def test_one_command_runs_them_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "all.json"
    all_of_them.main([*QUICK, "--warmup", "0", "--only", "rollout", "update", "--json", str(path)])
    rows = table(capsys.readouterr().out)
    assert [row["benchmark"] for row in rows] == ["rollout"] * 6 + ["update"] * 2
    assert len(json.loads(path.read_text("utf-8"))["rows"]) == 8


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_within_the_memory_that_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    all_of_them.main(["--device", "cuda", "--shape", "tiny", "--runs", "1", "--memory-gib", "8"])
    rows = table(capsys.readouterr().out)
    assert {row["benchmark"] for row in rows} == set(all_of_them.BENCHMARKS)
    assert all(0 < number(row["GiB"]) < 8 for row in rows)
    assert all(number(row["tokens/s"]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("main", "options", "said"),
    [
        (bench_rollout.main, ["--cases", "8x8"], "'8x8' is no case; write 8x8:512/128"),
        (bench_rollout.main, ["--cases", "0x8:512/128"], "'0x8:512/128' is no case"),
        (bench_sft.main, ["--cases", "4x2048:8"], "write 4x2048 or 4x~2048"),
        (bench_update.main, ["--runs", "0"], "'0' is no whole number from 1"),
        (bench_rollout.main, ["--stop-rate", "2"], "'2' is no share"),
        (bench_rollout.main, ["--json", "/nowhere/at/all.json"], "there is no such folder"),
        (bench_grpo_step.main, ["--device", "cpu", "--memory-gib", "8"], "no GPU whose memory"),
        (all_of_them.main, ["--only", "update", "sft", "--stop-rate", "0.5"], "unrecognized arguments: --stop-rate"),
    ],
)
def test_bad_options_are_one_error(
    main: object, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(main)
    with pytest.raises(SystemExit) as stopped:
        main(options)
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert said in printed.err.splitlines()[-1]
    assert not printed.out, "refused before anything is measured"


@pytest.mark.skipif(importlib.util.find_spec("trl") is not None, reason="TRL is installed")
def test_trl_is_asked_for_in_vain(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench_grpo_step.main(["--trl"])
    assert capsys.readouterr().err.endswith("error: --trl: TRL is not installed; pip install trl\n")


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is not installed")
def test_trl_has_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    bench_grpo_step.main([*QUICK, "--cases", "2x4:24/8", "--trl"])
    row = table(capsys.readouterr().out)[-1]
    assert row["how"] == "TRL"
    assert number(row["ratio"]) > 0


def test_memory_that_runs_out_costs_its_row_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 16.00 GiB.")

    def refused(*_: object) -> None:
        try:
            full()
        except torch.OutOfMemoryError as error:
            raise ConfigError("out of GPU memory in a pack of 8 tokens; lower model.micro_batch_tokens") from error

    for fault in (full, refused):
        monkeypatch.setattr(GroupedRollout, "generate", fault)
        bench_rollout.main([*QUICK, "--cases", "1x2:8/2", "--quantization", "nf4"])
        generate, *grouped = table(capsys.readouterr().out)
        check_figures([generate])
        assert {(row["s"], row["note"]) for row in grouped} == {("", "out of memory")}

    def wrong(*_: object) -> None:
        raise ConfigError("another fault")

    monkeypatch.setattr(GroupedRollout, "generate", wrong)
    with pytest.raises(SystemExit):
        bench_rollout.main([*QUICK, "--cases", "1x2:8/2", "--quantization", "nf4"])
    assert capsys.readouterr().err.endswith("error: another fault\n")


def test_no_completion_ends_early_unless_asked() -> None:
    policy, prompts = random_policy(SHAPES["tiny"], "none", "float32", CPU, False), [[3, 4, 5]] * 8
    torch.manual_seed(0)
    endless = GenerateRollout().generate(policy, NumberedWords(512), prompts, 16, 12)
    assert all(completion.truncated and len(completion.ids) == 12 for group in endless for completion in group)
    stops = stops_for(0.5, 512, 12)
    assert (1 - stops / 512) ** 12 == pytest.approx(0.5, abs=0.01)
    ragged = GenerateRollout().generate(policy, NumberedWords(512, stops), prompts, 16, 12)
    ended = [not completion.truncated for group in ragged for completion in group]
    assert 0.35 < sum(ended) / len(ended) < 0.65


def test_a_quantised_model_is_never_whole_before_it_is_quantised(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a layer is drawn, no other lies unquantised: all that are done are packed, the rest are on no device."""
    drawn: list[Linear4bit] = []
    draw = bench_model._draw_nf4

    def watched(layer: Linear4bit, *rest: object) -> None:
        assert layer.weight.is_meta
        assert all(done.weight.dtype == torch.uint8 for done in drawn)
        draw(layer, *rest)  # type: ignore[arg-type]
        drawn.append(layer)

    monkeypatch.setattr(bench_model, "_draw_nf4", watched)
    model = random_backbone(SHAPES["tiny"], "nf4", "float32", CPU)
    assert len(drawn) == 7 * 2
    for layer in drawn:
        assert layer.weight.numel() == layer.in_features * layer.out_features // 2, "two weights a byte"
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])


@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_the_model_is_built_as_one_that_is_loaded(quantization: str, tmp_path: Path) -> None:
    """Saved and read again by training's own loader it has the same layers, settings and logits."""
    torch.manual_seed(0)
    built = random_backbone(SHAPES["tiny"], "none", "float32", CPU)
    built.save_pretrained(tmp_path)
    kind = "nf4" if quantization == "nf4" else "none"
    loaded = load_backbone(str(tmp_path), kind, "float32")
    again = random_backbone(SHAPES["tiny"], kind, "float32", CPU)
    kinds = [[(name, type(module)) for name, module in model.named_modules()] for model in (loaded, again)]
    assert kinds[0] == kinds[1]
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in loaded.parameters()]
    assert again.lm_head.weight is again.model.embed_tokens.weight
    ids = torch.randint(512, (2, 9))
    if kind == "none":
        torch.testing.assert_close(again(ids).logits, loaded(ids).logits)
    for model in (loaded, again):
        policy = PolicyModel(model, bench_model.LORA, with_reference=True)
        with policy.evaluating():
            hidden = policy.hidden_states(ids, torch.ones_like(ids))
        assert hidden.isfinite().all()
        assert hidden.std() > 0.1


def test_flops_are_those_that_torch_counts() -> None:
    """Torch's counter sees every product; attention there computes all pairs, and leaves out what nothing needs."""
    policy = random_policy(SHAPES["tiny"], "none", "float32", CPU, True).train()
    policy.backbone.set_attn_implementation("eager")
    rows, length = 2, 24
    ids = torch.randint(1, 512, (rows, length))
    work, formula = Work(rows * length, rows * length**2, rows * length), ModelFlops.of(policy)
    with FlopCounterMode(display=False) as forward:
        policy.backbone(input_ids=ids, use_cache=False)
    assert forward.get_total_flops() == formula.forward(work)
    with FlopCounterMode(display=False) as training:
        policy.backbone(input_ids=ids, use_cache=False).logits.sum().backward()
    # The first layer's input needs no gradient, nor do its keys, which have no adapter: 64 wide, keys and values 32.
    first_layer = 2 * work.tokens * (64 * (64 + 32 + 32) + 2 * 64 * 16) + 2 * 64 * work.pairs
    assert training.get_total_flops() == formula.training(work) - first_layer


def test_nf4_weights_are_counted_by_their_features() -> None:
    packed, plain = (random_policy(SHAPES["tiny"], kind, "float32", CPU, False) for kind in ("nf4", "none"))
    assert ModelFlops.of(packed) == ModelFlops.of(plain)


def test_work_of_a_group() -> None:
    assert Work.rows([(3, [2, 1])]) == Work(tokens=9, pairs=15 + 10, logits=3)
    assert Work.shared([(3, [2, 1])]) == Work(tokens=6, pairs=6 + (2 * 3 + 3) + (3 + 1), logits=3)


def test_cases_draw_what_they_say() -> None:
    case = rollout_case("3x8:16/4")
    assert str(case) == "3x8:16/4"
    prompts = case.draw_prompts(40, Random(1))
    assert [len(prompt) for prompt in prompts] == [16] * 3
    assert {id for prompt in prompts for id in prompt} <= set(range(1, 40))
    lengths = SFTCase(4, 2048, ragged=True).draw_lengths(4, Random(1))
    assert 0 <= 4 * 4 * 2048 - sum(lengths) < 64
    assert max(lengths) <= 2048
    assert min(lengths[:-1]) >= 64
    assert len(set(lengths)) > len(lengths) // 2
