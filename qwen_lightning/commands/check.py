"""`check`: every fault of record files, whether gold passes its own checks, and how long records are."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from qwen_lightning.commands.workbench import add_workbench_arguments, load_workbench
from qwen_lightning.errors import DataError
from qwen_lightning.execution.base import QueryExecutor
from qwen_lightning.records import GeneralRecord, Located
from qwen_lightning.tables import render_table
from qwen_lightning.tasks.base import VerifiedTask
from qwen_lightning.tasks.checks.registry import RESERVED
from qwen_lightning.tasks.queries import QueryTask
from qwen_lightning.tasks.registry import TaskRegistry
from qwen_lightning.tasks.verification import Verifier
from qwen_lightning.verdict import Verdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("records", nargs="+", metavar="RECORDS.jsonl", help="record files")
    parser.add_argument("--tokenizer", metavar="DIR", help="count lengths in its tokens, chat template included")
    add_workbench_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Check; 2 where there is a fault.

    Raises:
        ConfigError: The config, the databases folder or the tokenizer cannot be used.
        ExecutionError: The executor cannot work.
    """
    registry, _ = load_workbench(args.config, args.databases)
    try:
        findings = inspect_files(registry, args.records)
        verify_golds(registry, findings)
    finally:
        registry.close()
    if findings.records:
        print(_length_table(registry, findings.records, args.tokenizer))
    for note in findings.notes:
        print(note)
    for fault in sorted(findings.faults, key=lambda fault: (args.records.index(str(fault.file)), fault.line or 0)):
        print(fault, file=sys.stderr)
    print(f"{len(findings.records)} records, {len(findings.faults)} faults, {len(findings.notes)} notes")
    return DataError.exit_code if findings.faults else 0


@dataclass
class Findings:
    """What `check` found; a note names what could not be decided, and is no fault."""

    records: list[Located] = field(default_factory=list)
    faults: list[DataError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def inspect_files(registry: TaskRegistry, files: Sequence[str]) -> Findings:
    """Read files to their ends and collect records and faults; an id may stand in one file only once."""
    findings = Findings()
    for file in files:
        try:
            for item in registry.reader.scan(file):
                if isinstance(item, DataError):
                    findings.faults.append(item)
                else:
                    findings.records.append(item)
        except DataError as error:
            findings.faults.append(error)
    return findings


def verify_golds(registry: TaskRegistry, findings: Findings) -> None:
    """Judge every gold that can be judged as if a model had said it; each check it does not pass is a fault.

    Gold of a database is judged where there is an executor. What an engine lacks, and a result that is empty on every
    variant of the data, are notes.
    """
    judged = [item for item in findings.records if _judgeable(registry, item)]
    known: list[Located] = []
    for item in judged:
        database, executor = getattr(item.record, "database", None), _executor(registry, item)
        if database is not None and executor is not None and not executor.has_database(database):
            missing = f"database {database!r} is not in the databases folder"
            findings.faults.append(DataError(missing, item.file, item.line))
        else:
            known.append(item)
    verifier = Verifier(registry)
    try:
        targets = [registry[item.record.task].target(item.record) for item in known]
        futures = verifier.submit([item.record for item in known], targets)
        for item, future in zip(known, futures, strict=True):
            try:
                _judge_gold(registry, item, future.result(), findings)
            except DataError as error:
                findings.faults.append(DataError(error.message, item.file, item.line))
    finally:
        verifier.close()


def _judge_gold(registry: TaskRegistry, item: Located, verdict: Verdict, findings: Findings) -> None:
    if verdict.gaps:
        # A gold that does not run looks like a gap, since gold is taken to be right; judged as a query it may be wrong.
        task, alone = registry.verified(item.record.task), item.record.model_copy(update={"gold": None})
        unaided = task.verify_all(alone, task.target(item.record))
        if min(unaided.checks.values(), default=1.0) < 1:
            verdict = unaided
    because = f": {verdict.detail}" if verdict.detail else ""
    failed = [name for name, value in verdict.checks.items() if value < 1 and name != RESERVED]
    if failed:
        findings.faults.append(DataError(f"gold fails {', '.join(failed)}{because}", item.file, item.line))
    elif undecided := _undecided(registry, item, verdict):
        findings.notes.append(f"{item.file}:{item.line}: note: {undecided}{because}")


def _judgeable(registry: TaskRegistry, item: Located) -> bool:
    record, task = item.record, registry[item.record.task]
    if record.gold is None or not isinstance(task, VerifiedTask):
        return False
    if isinstance(record, GeneralRecord):
        return bool(record.checks)
    return not isinstance(task, QueryTask) or task.executor is not None


def _executor(registry: TaskRegistry, item: Located) -> QueryExecutor | None:
    task = registry[item.record.task]
    return task.executor if isinstance(task, QueryTask) else None


def _undecided(registry: TaskRegistry, item: Located, verdict: Verdict) -> str:
    """What could not be decided of a gold; empty where all was."""
    if verdict.gaps:
        return f"the engine lacks something, {', '.join(sorted(verdict.gaps))} not made"
    decides = registry.verified(item.record.task).decides
    if decides is not None and decides not in verdict.checks and getattr(item.record, "database", None) is not None:
        return f"{decides} not made"
    return ""


def _length_table(registry: TaskRegistry, records: Sequence[Located], tokenizer: str | None) -> str:
    lengths: dict[str, list[int]] = {}
    golds: dict[str, int] = {}
    for item, length in zip(records, _lengths(registry, records, tokenizer), strict=True):
        lengths.setdefault(item.record.task, []).append(length)
        golds[item.record.task] = golds.get(item.record.task, 0) + (item.record.gold is not None)
    rows = [
        [
            task,
            str(len(found)),
            str(golds[task]),
            *map("{:g}".format, [min(found), median(found), _p95(found), max(found)]),
        ]
        for task, found in lengths.items()
    ]
    header = ["task", "records", "with gold", "min", "median", "p95", "max"]
    return f"Prompt and gold, in {'tokens' if tokenizer else 'characters'}\n{render_table(header, rows)}"


def _lengths(registry: TaskRegistry, records: Sequence[Located], tokenizer: str | None) -> Iterator[int]:
    prompts = [registry[item.record.task].prompt(item.record) for item in records]
    targets = ["" if item.record.gold is None else registry[item.record.task].target(item.record) for item in records]
    if tokenizer is None:
        for prompt, target in zip(prompts, targets, strict=True):
            tools = json.dumps(prompt.tools, ensure_ascii=False) if prompt.tools else ""
            yield sum(len(message["content"]) for message in prompt.messages) + len(tools) + len(target)
        return
    # transformers loads torch: only here.
    from qwen_lightning.models.chat import ChatRenderer

    renderer = ChatRenderer.from_pretrained(tokenizer)
    for item, example in zip(records, renderer.examples(prompts, targets), strict=True):
        yield len(example.prompt_ids) + (len(example.completion_ids) if item.record.gold is not None else 0)


def _p95(values: Sequence[int]) -> int:
    """The 95th percentile by nearest rank."""
    return sorted(values)[-(-95 * len(values) // 100) - 1]
