"""`regress`: a regression suite on an adapter or on the bare base, and its change against a baseline."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from qwen_lightning.commands.workbench import add_workbench_arguments, load_workbench
from qwen_lightning.config_files import read_config
from qwen_lightning.data.sources import files_in, require_databases
from qwen_lightning.errors import ConfigError, DataError, RedLineStop
from qwen_lightning.evaluation.questions import SAMPLE_SEED, SAMPLE_TOKENS, DriftSample
from qwen_lightning.hashing import file_sha256
from qwen_lightning.records import RecordBase, Turn
from qwen_lightning.regression.red_lines import RedLine, judge, require_metric
from qwen_lightning.regression.report import comparison_table
from qwen_lightning.regression.scores import ScoreRow, by_metric, summarize
from qwen_lightning.tables import render_table

BASE = "base"
DEFAULT_MAX_DROP = 0.03
#: Checks of an answer's form alone: a persona's voice in a task's answer breaks them.
FORMAT_CHECKS = ("json", "no_extra_text", "parses")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument(
        "--adapter", required=True, metavar="DIR|base", help="adapter folder, or `base` for the bare base"
    )
    parser.add_argument("--model", metavar="M", help="backbone, hub id or folder; the manifest's unless given")
    parser.add_argument("--suite", required=True, metavar="SUITE", help="records file, or a folder of them")
    parser.add_argument("--output", required=True, metavar="O.json", help="results to write")
    parser.add_argument("--baseline", metavar="O0.json", help="results to compare with")
    parser.add_argument(
        "--system",
        metavar="FILE",
        help="text that is put before each record's history as a system turn, such as a persona's description; persona "
        "records have their own. Against a baseline without it, the red lines are the checks of form",
    )
    parser.add_argument("--quantization", choices=("nf4", "none"), help="the manifest's unless given; nf4 for the base")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float32"), help="bfloat16 on a GPU and float32 without, unless given"
    )
    parser.add_argument("--max-new-tokens", type=int, default=256, metavar="N", help="length limit of a completion")
    add_workbench_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the suite.

    Raises:
        AdapterError: The adapter is unusable.
        ConfigError: No model is named, the output cannot be written, or baseline and suite do not belong together.
        DataError: A record or the baseline file is malformed.
        RedLineStop: A red line is crossed against the baseline.
    """
    # Whatever can be wrong is found before the model is loaded: measuring takes long.
    if args.max_new_tokens < 1:
        raise ConfigError(f"--max-new-tokens is {args.max_new_tokens}; it must be at least 1")
    baseline = None if args.baseline is None else _read_baseline(Path(args.baseline))
    lines, system = _lines(args.config), _system(args.system)
    output = Path(args.output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output {output}: cannot be written: {error.strerror}") from None
    if output.is_dir():
        raise ConfigError(f"--output {output} is a folder; give a file")
    if baseline is not None:
        _same_question(baseline, args)
    # Without a baseline nothing is compared, and the config may be there for its tasks alone.
    result, rows = _measure(args, system, baseline, lines if lines and baseline is not None else [])
    output.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if baseline is None:
        print(
            render_table(
                ["metric", "value"], [[name, f"{value:.3f}"] for name, value in sorted(result["metrics"].items())]
            )
        )
        return 0
    before = _start(baseline)
    if all(row.forward_kl is None for row in rows):
        print(f"No forward KL: {args.baseline} holds no samples of the prompts that this model saw")
    if lines is None:
        leak = system is not None and baseline.get("system") is None
        metrics = by_metric(before).keys() & by_metric(rows).keys()
        watched = [name for name in sorted(metrics) if leak and name.split("/")[1] in FORMAT_CHECKS]
        watched += [name for name in ("general/all",) if not leak and name in metrics]
        if leak and not watched:
            raise ConfigError(
                f"--system: no record of the suite has a check of form ({', '.join(FORMAT_CHECKS)}) to watch"
            )
        lines = [RedLine(name, DEFAULT_MAX_DROP) for name in watched]
    now = by_metric(rows)
    for line in lines:
        require_metric(line.metric, now)
    reports = judge(lines, by_metric(before), [now])
    print(comparison_table(before, rows, reports))
    crossed = [report.crossing for report in reports if report.crossing]
    if crossed:
        raise RedLineStop("red line: " + "; ".join(map(str, crossed)))
    return 0


def _measure(
    args: argparse.Namespace, system: str | None, baseline: dict[str, Any] | None, lines: Sequence[RedLine]
) -> tuple[dict[str, Any], list[ScoreRow]]:
    """Load the model and score the suite, the baseline's samples too; torch is imported here."""
    import torch

    from qwen_lightning.adapters.store import load_adapter
    from qwen_lightning.evaluation.baseline_cache import prompts_sha256
    from qwen_lightning.evaluation.evaluator import Evaluator
    from qwen_lightning.evaluation.metric_names import metric_names
    from qwen_lightning.models.backbone import DType, Quantization, load_backbone
    from qwen_lightning.models.chat import ChatRenderer
    from qwen_lightning.models.policy import LoRASettings, PolicyModel
    from qwen_lightning.rollout.grouped.engine import GroupedRollout

    state, lora, manifest = (None, LoRASettings(), None) if args.adapter == BASE else load_adapter(args.adapter)
    name = args.model or (manifest.base_model if manifest else None)
    if name is None:
        raise ConfigError("--adapter base needs --model: a hub id or a folder")
    files = files_in(args.suite, "--suite")
    tasks, rewards = load_workbench(args.config, args.databases)
    try:
        items = tasks.reader.read_many(files)
        if not items:
            raise ConfigError(f"--suite {args.suite} holds no records")
        require_databases(items, tasks)
        records = [item.record if system is None else with_system(item.record, system) for item in items]
        known = metric_names(records, tasks, rewards, baseline is not None and "samples" in baseline)
        for line in lines:
            require_metric(line.metric, known)
        cuda = torch.cuda.is_available()
        quantization = cast(Quantization, args.quantization or (manifest.quantization if manifest else "nf4"))
        dtype: DType = args.dtype or ("bfloat16" if cuda else "float32")
        revision = manifest.base_revision if manifest and name == manifest.base_model else None
        backbone = load_backbone(name, quantization, dtype, "cuda" if cuda else "cpu", revision)
        policy = PolicyModel(backbone, lora, state)
        renderer = ChatRenderer.from_pretrained(name, revision)
        evaluator = Evaluator(policy, renderer, tasks, rewards, GroupedRollout(), args.max_new_tokens)
        questions = evaluator.questions(records)
        prompts = prompts_sha256(questions)
        comparable = baseline is not None and baseline.get("prompts_sha256") == prompts
        parents = [DriftSample(**sample) for sample in baseline["samples"]] if baseline and comparable else None
        with policy.bare() if state is None else contextlib.nullcontext():
            rows = evaluator.judge(records, evaluator.answer(questions, parents))
            samples = evaluator.sample(questions, SAMPLE_TOKENS, SAMPLE_SEED)
        evaluator.close()
    finally:
        tasks.close()
    result = {
        "adapter": manifest.name if manifest else BASE,
        "adapter_sha256": manifest.sha256 if manifest else None,
        "base_model": name,
        "quantization": quantization,
        "dtype": dtype,
        "suite": [str(path) for path in files],
        "suite_sha256": _suite_sha256(files),
        "system": system,
        "sampling": {"temperature": 0.0, "max_new_tokens": args.max_new_tokens},
        "metrics": summarize(rows),
        "rows": [row.to_dict() for row in rows],
        "prompts_sha256": prompts,
        "samples": [sample.model_dump() for sample in samples],
    }
    return result, rows


def with_system(record: RecordBase, system: str) -> RecordBase:
    """The record with a system turn before its history; a persona record, which has its own, as it is."""
    if record.task == "persona":
        return record
    return record.model_copy(update={"history": [Turn(role="system", content=system), *record.history]})


def _system(path: str | None) -> str | None:
    """The text of `--system`.

    Raises:
        ConfigError: It cannot be read, or is blank.
    """
    if path is None:
        return None
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--system {path}: cannot be read: {error}") from None
    if not text:
        raise ConfigError(f"--system {path} is blank; give a file with the system prompt's text")
    return text


def _lines(configs: Sequence[str]) -> list[RedLine] | None:
    """The brake's lines in the configs, the last that has any; None where none has."""
    found: list[RedLine] | None = None
    reader = TypeAdapter(list[RedLine])  # reads `5e-3`, which YAML takes for a text, as fit does
    for path in configs:
        loaded = read_config(path)
        try:
            for callback in (loaded.get("trainer") or {}).get("callbacks") or []:
                if str(callback.get("class_path", "")).endswith("RedLineBrake"):
                    found = reader.validate_python(callback["init_args"]["lines"])
        except (AttributeError, KeyError, TypeError, ValidationError) as error:
            fault = "; ".join(map(_fault, error.errors())) if isinstance(error, ValidationError) else error
            raise ConfigError(f"{path}: trainer.callbacks: the brake's lines cannot be read ({fault})") from None
    return found


def _fault(error: Mapping[str, Any]) -> str:
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


def _same_question(baseline: dict[str, Any], args: argparse.Namespace) -> None:
    """Refuse a baseline that answered another suite, or within another length."""
    if baseline["suite_sha256"] != _suite_sha256(files_in(args.suite, "--suite")):
        raise ConfigError(f"{args.baseline} is of another suite than {args.suite}; run the baseline on this one first")
    limit = baseline["sampling"]["max_new_tokens"]
    if limit != args.max_new_tokens:
        raise ConfigError(
            f"{args.baseline} was measured with --max-new-tokens {limit}, not {args.max_new_tokens}; give the same here"
        )


def _start(baseline: dict[str, Any]) -> list[ScoreRow]:
    """The baseline's rows; whatever it was compared with itself, it is now what KL is measured from."""
    kl = 0.0 if "samples" in baseline else None
    return [replace(ScoreRow.from_dict(row), forward_kl=kl) for row in baseline["rows"]]


def _suite_sha256(files: Sequence[Path]) -> str:
    return hashlib.sha256("".join(file_sha256(path) for path in files).encode()).hexdigest()


def _read_baseline(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
        for field in ("suite_sha256", "sampling", "rows"):
            if field not in loaded:
                raise DataError(f"has no {field}; give a file that regress wrote", path)
        for row in loaded["rows"]:
            ScoreRow.from_dict(row)
        samples = [DriftSample.model_validate(sample) for sample in loaded.get("samples", [])]
        if "samples" in loaded and len(samples) != len(loaded["rows"]):
            raise ValueError(f"it has {len(samples)} samples for {len(loaded['rows'])} rows")
    except (OSError, ValueError, TypeError) as error:
        fault = f"samples: {error.errors()[0]['msg']}" if isinstance(error, ValidationError) else error
        raise DataError(f"is no file that regress wrote ({fault})", path) from None
    return loaded
