"""Judges one Cypher query against its gold: static analysis, execution, match on every variant of the graph."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace

from qwen_lightning.errors import DataError, QueryError
from qwen_lightning.execution.base import Explanation, Limits, QueryJob, QueryOutcome, QueryTable
from qwen_lightning.execution.cypher.analysis import Analysis, analyse
from qwen_lightning.execution.cypher.engine import Engine
from qwen_lightning.execution.cypher.expected import OrderedGold, ordered_gold
from qwen_lightning.execution.cypher.json_graph import json_of
from qwen_lightning.execution.cypher.static import static_outcome
from qwen_lightning.execution.cypher.values import unordered
from qwen_lightning.execution.cypher.variants import Wanted
from qwen_lightning.execution.json_values import json_rows
from qwen_lightning.execution.results import Expected, Result, join, same_as_gold
from qwen_lightning.execution.same_result import Row
from qwen_lightning.execution.watch import Watch
from qwen_lightning.execution.worker import Judge

_MAX_GOLDS = 4096
# Golds that keep a variant of their own at a time; each holds a graph in memory.
_MAX_DIRECTED = 96
_DIRECTED_TRIES = 3


@dataclass(slots=True)
class Gold:
    """What a gold yields: by variant, or why nothing can be compared with it."""

    analysis: Analysis
    expected: dict[str, Expected] = field(default_factory=dict)
    loose_lists: bool = False
    gap: str = ""
    detail: str = ""
    directed: str = ""


class CypherJudge(Judge):
    """One a worker.

    Args:
        engine: Where queries run.
        timeout_s: Limit of one query on one variant, after which it is interrupted.
    """

    def __init__(self, engine: Engine, timeout_s: float) -> None:
        self.engine, self.timeout_s = engine, timeout_s
        self.watch = Watch(engine.interrupt)
        self.golds: OrderedDict[tuple[str, str], Gold] = OrderedDict()
        # The grammar is read at the first use, which is no query's fault.
        analyse("RETURN 1 AS one", "(:A)-[:B]->(:A)")

    def static(self, job: QueryJob) -> tuple[Analysis, QueryOutcome, bool]:
        analysis = analyse(job.query, job.schema)
        outcome = static_outcome(job, analysis)
        return analysis, outcome, job.database is not None and outcome.executes is None

    def prepare(self, job: QueryJob) -> Gold | None:
        assert job.database is not None
        variants = self.engine.variants(job.database)
        if job.gold is None:
            return None
        place = (job.database, job.gold)
        # A graph that was loaded anew has new variants.
        if place not in self.golds or not set(variants) & set(self.golds[place].expected or variants):
            while (
                len(self.golds) >= _MAX_GOLDS
                or sum(bool(gold.directed) for gold in self.golds.values()) > _MAX_DIRECTED
            ):
                self._forget(self.golds.popitem(last=False)[1])
            if place in self.golds:
                self._forget(self.golds.pop(place))
            self.golds[place] = self._run_gold(job.database, job.gold, job.schema, list(variants))
        self.golds.move_to_end(place)
        return self.golds[place]

    def _forget(self, gold: Gold) -> None:
        if gold.directed:
            self.engine.drop(gold.directed)

    def decide(self, job: QueryJob, analysis: Analysis, static: QueryOutcome, gold: Gold | None) -> QueryOutcome:
        assert job.database is not None
        original = self.engine.variants(job.database)[0]
        result = self._limited(original, job.query)
        if result.gap:
            return replace(static, gap=result.gap, detail=join(static.detail, result.gap))
        if result.fault:
            match = None if gold is None or gold.detail else False
            return replace(static, executes=False, match=match, detail=join(static.detail, result.fault))
        outcome = replace(static, executes=True, detail=join(static.detail, self.engine.remark(job.query)))
        if gold is None:
            return outcome
        if gold.detail:
            return replace(outcome, gap=gold.gap, detail=join(outcome.detail, gold.detail))
        gap, why = "", _cheats(analysis, gold)
        if not why:
            gap, why = self._mismatch(original, job.query, analysis, result, gold)
        if gap:
            return replace(outcome, executes=None, gap=gap, detail=join(outcome.detail, gap))
        return replace(
            outcome,
            match=not why,
            detail=join(outcome.detail, why or self.engine.note),
            variants=len(gold.expected),
        )

    def load(self, database: str) -> None:
        self.engine.original(database)

    def describe(self, database: str) -> str:
        return self.engine.schema(database)

    def explain(self, database: str, query: str) -> Explanation:
        try:
            analysis = self._read_query(database, query)
        except QueryError as error:
            return Explanation(False, str(error))
        if self.engine.knows_all_names and not analysis.references:
            return Explanation(False, analysis.detail)
        with self.watch.limit(self.timeout_s * 0.9):
            result = self.engine.explain(self.engine.original(database), query)
        return Explanation(None if result.gap else not result.fault, result.gap or result.fault)

    def table(self, database: str, query: str, limits: Limits) -> QueryTable:
        analysis, variant = self._read_query(database, query), self.engine.original(database)
        began = time.monotonic()
        with self.watch.limit(self.timeout_s * 0.9):
            result = self.engine.fetch(variant, query, limits)
        seconds = time.monotonic() - began
        if result.gap or result.fault:
            raise QueryError(result.gap or result.fault)
        rows, cut = json_rows(result.shown, limits, json_of)
        return QueryTable(result.columns or analysis.columns or (), rows, cut or bool(result.cut), seconds)

    def _read_query(self, database: str, query: str) -> Analysis:
        """The analysis of a query that may run.

        Raises:
            QueryError: It is no single statement that reads.
        """
        schema = self.engine.schema(database)
        if not schema:
            raise DataError(f"the graph {database!r} holds no labelled node")
        analysis = analyse(query, schema)
        if not analysis.parses:
            raise QueryError(analysis.detail)
        return analysis

    def _mismatch(self, original: str, query: str, analysis: Analysis, result: Result, gold: Gold) -> tuple[str, str]:
        """A gap of the engine, or why the result is not the gold's."""
        columns, wanted = len(analysis.columns or ()), len(gold.analysis.columns or ())
        if analysis.columns is not None and gold.analysis.columns is not None and columns != wanted:
            return "", f"{columns} columns, the gold has {wanted}"
        for number, (variant, expected) in enumerate(gold.expected.items(), start=1):
            found = result if variant == original else self._limited(variant, query)
            if found.gap:
                return found.gap, ""
            if found.fault:
                return "", f"fails on variant {number} of the data: {found.fault}"
            if not same_as_gold(expected, _lists(found.rows, gold.loose_lists)):
                sizes = f"{len(found.rows)} rows, gold {len(expected.rows)}"
                return "", f"result differs from the gold's on variant {number} of the data ({sizes})"
        return "", ""

    def _limited(self, variant: str, query: str) -> Result:
        """Run, and interrupt at the limit. What obeys no interrupt is ended by the parent."""
        with self.watch.limit(self.timeout_s * 0.9):
            return self.engine.run(variant, query)

    def _run_gold(self, database: str, text: str, schema: str, variants: list[str]) -> Gold:
        analysis = analyse(text, schema)
        gold = Gold(analysis, loose_lists=analysis.order_dependent)
        if not analysis.parses:
            gold.detail = f"the gold is refused: {analysis.detail}"
            return gold
        ordered = ordered_gold(text, analysis)
        for variant in variants:
            expected = self._expect(variant, text, ordered, gold)
            if isinstance(expected, Expected):
                gold.expected[variant] = expected
            elif variant == variants[0] or expected.gap:
                gold.gap = expected.gap
                why = "needs what the engine lacks" if expected.gap else "does not run"
                gold.detail = f"the gold {why}: {expected.gap or expected.fault}"
                return gold
        if not analysis.volatile:
            self._direct(database, text, ordered, gold)
            self._settle(database, text, ordered, gold, variants[0])
        if not any(expected.rows for expected in gold.expected.values()):
            gold.detail = f"the gold is empty on all {len(gold.expected)} variants of the data"
        return gold

    def _expect(self, variant: str, text: str, ordered: OrderedGold, gold: Gold) -> Expected | Result:
        result = self._limited(variant, ordered.query)
        if not result.fault and not result.gap:
            found = ordered.expected(result, lambda query: self._limited(variant, query))
        else:
            result = self._limited(variant, text)
            if result.fault or result.gap:
                return result
            found = Expected(result.rows, result.width)
        return _loose(found) if gold.loose_lists else found

    def _direct(self, database: str, text: str, ordered: OrderedGold, gold: Gold) -> None:
        """Where no standard variant moves the gold's result, look for one that does."""
        known = list(gold.expected.values())
        if not gold.analysis.reads or any(known[0].rows != other.rows for other in known[1:]):
            return
        wanted = Wanted(gold.analysis.literals, gold.analysis.reads)
        for seed in range(_DIRECTED_TRIES):
            variant = self.engine.directed(database, wanted, seed)
            if variant is None:
                return
            expected = self._expect(variant, text, ordered, gold)
            if isinstance(expected, Expected) and expected.rows and expected.rows != known[0].rows:
                gold.expected[variant] = expected
                gold.directed = variant
                return
            self.engine.drop(variant)

    def _settle(self, database: str, text: str, ordered: OrderedGold, gold: Gold, original: str) -> None:
        """Find out what of the gold's result hangs on the order in which the data lie.

        Where it is the order of lists, that order is left out of the comparison; where it is more, the gold is compared
        on the original alone.
        """
        variant = self.engine.shuffled(database)
        if variant is None:
            return
        moved = self._expect(variant, text, ordered, gold)
        if not isinstance(moved, Expected) or same_as_gold(gold.expected[original], moved.rows):
            return
        loose = {name: _loose(expected) for name, expected in gold.expected.items()}
        if same_as_gold(loose[original], _lists(moved.rows, True)):
            gold.loose_lists, gold.expected = True, loose
        else:
            gold.expected = {original: gold.expected[original]}


def _lists(rows: list[Row], loose: bool) -> list[Row]:
    return [tuple(map(unordered, row)) for row in rows] if loose else rows


def _loose(expected: Expected) -> Expected:
    spare = {tie: _lists(rows, True) for tie, rows in expected.spare.items()}
    return Expected(_lists(expected.rows, True), expected.width, expected.ties, spare)


def _cheats(analysis: Analysis, gold: Gold) -> str:
    if gold.analysis.reads and not analysis.reads & gold.analysis.reads:
        return "reads none of the labels and types that the gold reads"
    if analysis.constant and not gold.analysis.constant:
        return "returns constants, whatever the data"
    if analysis.volatile and not gold.analysis.volatile:
        return "its result changes from run to run"
    return ""
