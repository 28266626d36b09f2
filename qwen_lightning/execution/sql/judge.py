"""Judges one query against its gold on an engine: static analysis, execution, match on every variant of the data."""

from __future__ import annotations

import datetime
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

from qwen_lightning.errors import DataError, QueryError
from qwen_lightning.execution.base import Explanation, Limits, QueryJob, QueryOutcome, QueryTable
from qwen_lightning.execution.json_values import json_rows
from qwen_lightning.execution.results import Expected, Result, join, same_as_gold
from qwen_lightning.execution.sql.analysis import Analysis, analyse
from qwen_lightning.execution.sql.engine import Engine, Runnable
from qwen_lightning.execution.sql.expected import ordered_gold
from qwen_lightning.execution.sql.parsing import NotParsed, parse_query
from qwen_lightning.execution.watch import Watch
from qwen_lightning.execution.worker import Judge

_MAX_GOLDS = 4096
# Directed variants tried for a gold that the standard variants leave empty or unmoved.
_DIRECTED_TRIES = 6


@dataclass(slots=True)
class Gold:
    """What a gold yields: by variant, or why nothing can be compared with it."""

    expected: dict[str, Expected] = field(default_factory=dict)
    tables: frozenset[str] = frozenset()
    constant: bool = False
    volatile: bool = False
    gap: str = ""
    detail: str = ""
    directed: list[str] = field(default_factory=list)


class SQLJudge(Judge):
    """One a worker.

    Args:
        engine: Where queries run.
        timeout_s: Limit of one query on one variant, after which it is interrupted.
    """

    def __init__(self, engine: Engine, timeout_s: float) -> None:
        self.engine, self.timeout_s = engine, timeout_s
        self.watch = Watch(engine.interrupt)
        self.golds: OrderedDict[tuple[str, str], Gold] = OrderedDict()

    def static(self, job: QueryJob) -> tuple[Analysis, QueryOutcome, bool]:
        analysis = analyse(job.query, job.schema, job.dialect)
        outcome = static_outcome(job, analysis)
        return analysis, outcome, job.database is not None and outcome.parses and not analysis.faults

    def prepare(self, job: QueryJob) -> Gold | None:
        assert job.database is not None
        variants = self.engine.variants(job.database)
        if job.gold is None:
            return None
        place = (job.database, job.gold)
        # A reloaded database has new variants.
        if place not in self.golds or not set(variants) & set(self.golds[place].expected or variants):
            while len(self.golds) >= _MAX_GOLDS:
                self._forget(self.golds.popitem(last=False)[1])
            self.golds[place] = self._run_gold(job.database, job.gold, job.schema, list(variants))
        self.golds.move_to_end(place)
        return self.golds[place]

    def _forget(self, gold: Gold) -> None:
        for name in gold.directed:
            self.engine.drop(name)

    def decide(self, job: QueryJob, analysis: Analysis, static: QueryOutcome, gold: Gold | None) -> QueryOutcome:
        assert job.database is not None
        assert analysis.parsed is not None
        query = Runnable(analysis.parsed, analysis.calls, analysis.dependent)
        original = self.engine.variants(job.database)[0]
        result = self._limited(original, query)
        if result.gap:
            return replace(static, gap=result.gap, detail=join(static.detail, result.gap))
        if result.fault:
            return replace(
                static,
                executes=False,
                match=None if gold is None or gold.detail else False,
                detail=join(static.detail, result.fault),
            )
        outcome = replace(static, executes=True)
        if gold is None:
            return outcome
        if gold.detail:
            return replace(outcome, gap=gold.gap, detail=join(static.detail, gold.detail))
        count = len(gold.expected)
        why = _cheats(analysis, gold) or self._mismatch(original, query, result, gold)
        return replace(outcome, match=not why, detail=join(static.detail, why or self.engine.note), variants=count)

    def load(self, database: str) -> None:
        self.engine.original(database)

    def describe(self, database: str) -> str:
        return self.engine.schema(database)

    def explain(self, database: str, query: str) -> Explanation:
        try:
            runnable, _ = self._runnable(database, query)
        except QueryError as error:
            return Explanation(False, str(error))
        with self.watch.limit(self.timeout_s * 0.9):
            result = self.engine.explain(self.engine.original(database), runnable)
        return Explanation(None if result.gap else not result.fault, result.gap or result.fault)

    def table(self, database: str, query: str, limits: Limits) -> QueryTable:
        (runnable, names), variant = self._runnable(database, query), self.engine.original(database)
        began = time.monotonic()
        with self.watch.limit(self.timeout_s * 0.9):
            result = self.engine.fetch(variant, runnable, limits)
        seconds = time.monotonic() - began
        if result.gap or result.fault:
            raise QueryError(result.gap or result.fault)
        rows, cut = json_rows(result.shown, limits)
        columns = names if len(names) == result.width else result.columns
        return QueryTable(columns, rows, cut or bool(result.cut), seconds)

    def _runnable(self, database: str, query: str) -> tuple[Runnable, tuple[str, ...]]:
        """A query that may run, one that reads and that the analysis has nothing against, and its columns' names.

        Raises:
            QueryError: It is none.
        """
        schema = self.engine.schema(database)
        if not schema:
            raise DataError(f"the database {database!r} holds no table that can be read")
        analysis = analyse(query, schema, "postgres")
        if analysis.parsed is None or analysis.faults:
            raise QueryError(analysis.detail)
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        return Runnable(analysis.parsed, analysis.calls, analysis.dependent, now), analysis.columns

    def _mismatch(self, original: str, query: Runnable, result: Result, gold: Gold) -> str:
        for number, (variant, expected) in enumerate(gold.expected.items(), start=1):
            found = result if variant == original else self._limited(variant, query)
            if found.fault or found.gap:
                return f"fails on variant {number} of the data: {found.fault or found.gap}"
            if found.width != expected.width:
                return f"{found.width} columns, the gold has {expected.width}"
            if not same_as_gold(expected, found.rows):
                sizes = f"{len(found.rows)} rows, gold {len(expected.rows)}"
                return f"result differs from the gold's on variant {number} of the data ({sizes})"
        return ""

    def _limited(self, variant: str, query: Runnable) -> Result:
        """Run, and interrupt at the limit. What obeys no interrupt is ended by the parent."""
        with self.watch.limit(self.timeout_s * 0.9):
            return self.engine.run(variant, query)

    def _run_gold(self, database: str, text: str, schema: str, variants: list[str]) -> Gold:
        try:
            parsed = parse_query(text)
        except NotParsed as error:
            return Gold(detail=f"the gold does not parse: {error}")
        analysis = analyse(text, schema, "postgres")
        gold = Gold(tables=analysis.tables, constant=analysis.constant, volatile=analysis.volatile)
        ordered = ordered_gold(parsed)
        for variant in variants:
            expected = self._expect(variant, analysis, parsed, ordered)
            if isinstance(expected, Expected):
                gold.expected[variant] = expected
            elif variant == variants[0]:
                gold.gap = expected.gap
                why = "needs what the engine lacks" if expected.gap else "does not run"
                gold.detail = f"the gold {why}: {expected.gap or expected.fault}"
                return gold
        if not analysis.volatile:
            self._direct(database, analysis, parsed, ordered, gold)
        if analysis.order_dependent:
            self._drop_unstable(database, analysis, parsed, ordered, gold, variants[0])
        if not any(expected.rows for expected in gold.expected.values()):
            gold.detail = f"the gold is empty on all {len(gold.expected)} variants of the data"
        return gold

    def _expect(self, variant: str, analysis: Analysis, parsed: Any, ordered: Any) -> Expected | Result:
        result = self._limited(variant, Runnable(ordered.parsed, analysis.calls, analysis.dependent))
        if result.fault or result.gap:
            plain = self._limited(variant, Runnable(parsed, analysis.calls, analysis.dependent))
            return plain if plain.fault or plain.gap else Expected(plain.rows, plain.width)
        return ordered.expected(
            result, lambda query: self._limited(variant, Runnable(query, analysis.calls, analysis.dependent))
        )

    def _direct(self, database: str, analysis: Analysis, parsed: Any, ordered: Any, gold: Gold) -> None:
        """Where no standard variant moves the gold's result, look for one that does."""
        known = list(gold.expected.values())
        if not analysis.tables or any(known[0].rows != other.rows for other in known[1:]):
            return
        for seed in range(_DIRECTED_TRIES):
            variant = self.engine.directed(database, analysis.wanted, seed)
            if variant is None:
                return
            expected = self._expect(variant, analysis, parsed, ordered)
            if isinstance(expected, Expected) and expected.rows and expected.rows != known[0].rows:
                gold.expected[variant] = expected
                gold.directed.append(variant)
                return
            self.engine.drop(variant)

    def _drop_unstable(
        self, database: str, analysis: Analysis, parsed: Any, ordered: Any, gold: Gold, original: str
    ) -> None:
        """A gold whose result hangs on the physical order of rows is compared on the original alone."""
        variant = self.engine.shuffled(database)
        if variant is None:
            return
        expected = self._expect(variant, analysis, parsed, ordered)
        self.engine.drop(variant)
        if isinstance(expected, Expected) and not same_as_gold(gold.expected[original], expected.rows):
            gold.expected = {original: gold.expected[original]}


def static_outcome(job: QueryJob, analysis: Analysis) -> QueryOutcome:
    """What the analysis alone decides: every check of a query that does not parse, and what Postgres refuses."""
    compares = job.database is not None and job.gold is not None
    if not analysis.parses:
        return QueryOutcome(
            False,
            references=False,
            dialect=False,
            executes=False if job.database is not None else None,
            match=False if compares else None,
            detail=analysis.detail,
        )
    references = analysis.references
    if job.gold is None and not analysis.tables:
        references = False
    detail = analysis.detail or ("" if references else "reads no table of the schema")
    refused = bool(analysis.faults)
    return QueryOutcome(
        True, references=references, dialect=analysis.dialect,
        executes=False if refused and job.database is not None else None,
        match=False if refused and compares else None, detail=detail,
    )  # fmt: skip


def _cheats(analysis: Analysis, gold: Gold) -> str:
    if gold.tables and not analysis.tables & gold.tables:
        return "reads none of the tables that the gold reads"
    if analysis.constant and not gold.constant:
        return "returns constants, whatever the data"
    if analysis.volatile and not gold.volatile:
        return "its result changes from run to run"
    return ""
