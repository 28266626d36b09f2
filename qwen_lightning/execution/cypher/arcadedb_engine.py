"""ArcadeDB as the engine: an embedded Java machine a worker, a read-only database for each variant of each graph."""

from __future__ import annotations

import os
import shutil
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qwen_lightning.errors import DataError, ExecutionError
from qwen_lightning.execution.base import Limits
from qwen_lightning.execution.cypher.arcadedb_gaps import is_gap
from qwen_lightning.execution.cypher.arcadedb_values import Reader
from qwen_lightning.execution.cypher.engine import Engine
from qwen_lightning.execution.cypher.graph import Graph, GraphFile, Node, Relationship, read_graph
from qwen_lightning.execution.cypher.schema_text import Inventory, type_name
from qwen_lightning.execution.cypher.scratch import ScratchFolder
from qwen_lightning.execution.cypher.values import Budget, TooLarge, Unreadable
from qwen_lightning.execution.cypher.variants import Wanted, perturbed, shuffled
from qwen_lightning.execution.results import Result, too_large, too_many

_HEAP = "512m"
# Set before the first database is made. LOAD CSV reads any file and address unless it is told not to.
_SETTINGS = {
    "arcadedb.opencypher.loadCsv.allowFileUrls": False,
    "arcadedb.opencypher.loadCsv.allowRemoteUrls": False,
    "arcadedb.maxPageRAM": 64,
}
_TIMEOUT = "arcadedb.command.timeout"  # milliseconds
_MAX_DATABASES = 24
_BATCH = 500
_HALF = "makes half a character, which is no text"  # half of a UTF-16 pair, Java's characters being UTF-16's


class ArcadeDBEngine(Engine):
    """Runs Cypher on ArcadeDB.

    Args:
        folder: Databases folder.
        variants: How many variants of the data to match on, the original included.
        timeout_s: Limit of one query, seconds, which ArcadeDB keeps itself.

    Raises:
        ExecutionError: ArcadeDB is not installed, or its Java machine does not start.
    """

    note = ""

    def __init__(self, folder: Path, variants: int, timeout_s: float) -> None:
        self.folder, self.count = folder, variants
        self.scratch = ScratchFolder()
        self.factory, self.read_only, self.java_error = _start(self.scratch.path, timeout_s)
        self.reader = Reader()
        self.loaded: OrderedDict[str, tuple[Graph, list[str]]] = OrderedDict()
        self.schemas: dict[str, str] = {}
        self.open: dict[str, Any] = {}
        self.serial = 0

    def original(self, database: str) -> str:
        if database in self.loaded:
            self.loaded.move_to_end(database)
            return self.loaded[database][1][0]
        while len(self.loaded) >= _MAX_DATABASES:
            oldest, (_, names) = self.loaded.popitem(last=False)
            self.schemas.pop(oldest, None)
            for name in names:
                self.drop(name)
        file = read_graph(self.folder, database)
        original = self._store(lambda store: self._run_file(store, file))
        self.loaded[database] = (self._read_back(original, file), [original])
        return original

    def schema(self, database: str) -> str:
        self.original(database)
        if database not in self.schemas:
            graph = self.loaded[database][0]
            inventory = Inventory.of(graph, lambda value: type_name(self.reader.read(value, Budget())))
            self.schemas[database] = inventory.text()
        return self.schemas[database]

    def variants(self, database: str) -> Sequence[str]:
        self.original(database)
        graph, names = self.loaded[database]
        for number in range(len(names), self.count):
            names.append(self._copy(perturbed(graph, f"{database}/{number}", duplicates=number > 1)))
        return names[: self.count]

    def directed(self, database: str, wanted: Wanted, seed: int) -> str | None:
        if self.count < 2:
            return None
        graph = self.loaded[database][0]
        return self._copy(perturbed(graph, f"{database}/directed/{seed}", seed % 2 == 1, wanted))

    def shuffled(self, database: str) -> str | None:
        graph, names = self.loaded[database]
        if len(names) == self.count:
            names.append(self._copy(shuffled(graph, database)))
        return names[-1]

    def drop(self, variant: str) -> None:
        self.open.pop(variant).close()
        shutil.rmtree(self.scratch.path / variant, ignore_errors=True)

    def fetch(self, variant: str, query: str, limits: Limits) -> Result:
        return self._answered(variant, query, lambda results: self._rows(results, limits))

    def explain(self, variant: str, query: str) -> Result:
        return self._answered(variant, f"EXPLAIN {query}", lambda _: Result())

    def _answered(self, variant: str, query: str, read: Callable[[Any], Result]) -> Result:
        try:
            results = self.open[variant].query("opencypher", query)
            try:
                return read(results)
            finally:
                results.close()
        except Unreadable as error:
            return Result(fault=str(error))
        except UnicodeDecodeError:
            return Result(fault=_HALF)
        except self.java_error as error:
            return _failed(error)

    def interrupt(self) -> None:
        """Nothing: ArcadeDB keeps the limit itself, and the parent ends what does not obey."""

    def _rows(self, results: Any, limits: Limits) -> Result:
        rows: list[tuple[Any, ...]] = []
        names: list[str] = []
        budget, cut = Budget(limits.size), ""
        while results.hasNext():
            row = results.next()
            if not names:
                names = [str(name) for name in row.getPropertyNames()]
            if len(rows) == limits.rows:
                cut = too_many(limits)
                break
            try:
                rows.append(tuple(self.reader.read(row.getProperty(name), budget) for name in names))
            except TooLarge:
                cut = too_large(limits)
                break
        return Result(rows, len(names), tuple(names), cut=cut)

    def _store(self, fill: Callable[[Any], None]) -> str:
        """Make a database, fill it, and open it for reading alone."""
        self.serial += 1
        name = f"variant_{self.serial}"
        factory = self.factory(str(self.scratch.path / name))
        store = factory.create()
        # What fills it is trusted, and the parent's limit of loading holds; a query's limit would be too short.
        store.getConfiguration().setValue(_TIMEOUT, self.reader.to_java(0))
        try:
            store.begin()
            fill(store)
            store.commit()
        except BaseException:
            store.rollback()
            store.drop()
            raise
        store.close()
        self.open[name] = factory.open(self.read_only)
        return name

    def _run_file(self, store: Any, file: GraphFile) -> None:
        for number, statement in enumerate(file.statements, start=1):
            try:
                store.command("opencypher", statement)
            except self.java_error as error:
                raise DataError(f"statement {number} does not run: {_reason(error)[1]}", file.path) from None

    def _read_back(self, variant: str, file: GraphFile) -> Graph:
        graph, place = Graph(unique=file.unique), {}
        store = self.open[variant]
        nodes = store.query("opencypher", "MATCH (n) RETURN n")
        while nodes.hasNext():
            vertex = nodes.next().getProperty("n")
            place[str(vertex.getIdentity())] = len(graph.nodes)
            graph.nodes.append(Node(self.reader.labels(vertex), self.reader.stored(vertex)))
        relationships = store.query("opencypher", "MATCH ()-[r]->() RETURN r")
        while relationships.hasNext():
            edge = relationships.next().getProperty("r")
            ends = place[str(edge.getOut())], place[str(edge.getIn())]
            graph.relationships.append(Relationship(str(edge.getTypeName()), *ends, self.reader.stored(edge)))
        return graph

    def _copy(self, graph: Graph) -> str:
        return self._store(lambda store: self._fill(store, graph))

    def _fill(self, store: Any, graph: Graph) -> None:
        vertices: dict[int, Any] = {}
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, node in enumerate(graph.nodes):
            groups[node.labels].append(number)
        for labels, numbers in groups.items():
            name = "".join(f":`{label}`" for label in labels)
            for start in range(0, len(numbers), _BATCH):
                batch = numbers[start : start + _BATCH]
                made = store.command(
                    "opencypher",
                    f"UNWIND $rows AS row CREATE (n{name}) SET n = row RETURN n",
                    self.reader.parameters([graph.nodes[number].properties for number in batch]),
                )
                for number in batch:
                    vertices[number] = made.next().getProperty("n")
        for each in graph.relationships:
            store.getSchema().getOrCreateEdgeType(each.type)
            edge = vertices[each.start].asVertex().newEdge(each.type, vertices[each.end].asVertex())
            if each.properties:
                edge = edge.modify()
                for key, value in each.properties.items():
                    edge.set(key, self.reader.to_java(value))
                edge.save()


def _failed(error: Any) -> Result:
    try:
        kind, reason = _reason(error)
    except UnicodeDecodeError:  # it names what the query made
        return Result(fault=_HALF)
    if "TimeoutException" in kind:
        return Result(fault="ran past its time limit")
    return Result(gap=f"ArcadeDB: {reason}") if is_gap(reason) else Result(fault=reason)


def _start(scratch: Path, timeout_s: float) -> tuple[Any, Any, Any]:
    """Start the Java machine; its own messages go to a log in the scratch folder."""
    log = scratch / "java.log"
    _quieten(log)
    os.chdir(scratch)  # ArcadeDB writes a folder of logs where it stands
    os.environ["ARCADEDB_JVM_ERROR_FILE"] = str(scratch / "java_error.log")
    try:
        import jpype
        from arcadedb_embedded.jvm import start_jvm
    except ImportError as error:
        raise ExecutionError(
            f"ArcadeDB is not installed ({error}); pip install arcadedb-embedded, or name a Neo4jExecutor"
        ) from None
    try:
        start_jvm(
            heap_size=_HEAP,
            disable_xml_limits=False,
            jvm_args=["-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-XX:+SuppressFatalErrorMessage"],
        )
    except Exception as error:
        raise ExecutionError(f"ArcadeDB's Java machine does not start: {error}; its log is {log}") from None
    settings = jpype.JClass("com.arcadedb.GlobalConfiguration")
    for key, value in _SETTINGS.items():
        settings.findByKey(key).setValue(value)
    settings.findByKey(_TIMEOUT).setValue(jpype.JLong(int(timeout_s * 900)))
    read_only = jpype.JClass("com.arcadedb.engine.ComponentFile").MODE.READ_ONLY
    return jpype.JClass("com.arcadedb.database.DatabaseFactory"), read_only, jpype.JException


def _quieten(log: Path) -> None:
    """Send what Java prints to a log; what Python prints still goes where it went."""
    sys.stdout.flush()
    sys.stderr.flush()
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", buffering=1) for number in (1, 2))
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


def _reason(error: Any) -> tuple[str, str]:
    """The Java classes of an exception and its causes, and what the innermost says, in one line."""
    kinds: list[str] = []
    messages: list[str] = []
    while error is not None and len(kinds) < 8:
        kinds.append(str(error.getClass().getName()))
        if error.getMessage() is not None:
            messages.append(str(error.getMessage()))
        error = error.getCause()
    text = messages[-1] if messages else kinds[-1].rsplit(".", 1)[-1]
    return " ".join(kinds), " ".join(text.split())[:200]
