"""Neo4j as the engine: the graph that a server holds, or graphs made in transactions that are never committed."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from qwen_lightning.errors import ExecutionError
from qwen_lightning.execution.base import Limits
from qwen_lightning.execution.cypher.engine import Engine
from qwen_lightning.execution.cypher.graph import Graph, read_graph
from qwen_lightning.execution.cypher.neo4j_connection import OWN_S, connect, reason
from qwen_lightning.execution.cypher.neo4j_graphs import UncommittedGraph, fill, read_back, run_file
from qwen_lightning.execution.cypher.neo4j_plan import refusal
from qwen_lightning.execution.cypher.neo4j_schema import sample
from qwen_lightning.execution.cypher.neo4j_values import UNREAD, read_value
from qwen_lightning.execution.cypher.schema_text import Inventory, type_name
from qwen_lightning.execution.cypher.values import Budget, TooLarge, Unreadable
from qwen_lightning.execution.cypher.variants import Wanted, perturbed, shuffled
from qwen_lightning.execution.results import Result, too_large, too_many

# GQLSTATUS of names that the server does not know: label, relationship type, property.
_UNKNOWN = {"01N50": "label", "01N51": "relationship type", "01N52": "property"}
_MAX_REMARKS = 4096


class Neo4jEngine(Engine):
    """Runs Cypher on a Neo4j 5 server.

    Every query is first explained, in a read transaction, and refused unless its plan reads the graph alone.

    Args:
        url: Address of the server.
        user: Its user; empty for none.
        password: The user's password.
        folder: Databases folder; the server must then be empty. None: the graphs that it holds.
        graph: Name of the graph that the home database holds; empty: databases go by their own names.
        variants: How many variants of the data to match on, the original included.
        timeout_s: Limit of one query, seconds.

    Raises:
        ExecutionError: The server cannot be reached, or it must be empty and is not.
    """

    def __init__(
        self, url: str, user: str, password: str, folder: Path | None, graph: str, variants: int, timeout_s: float
    ) -> None:
        self.driver = connect(url, user, password)
        self.folder, self.graph, self.count, self.timeout_s = folder, graph, variants, timeout_s
        self.loaded: OrderedDict[str, tuple[Graph, list[str]]] = OrderedDict()
        self.open: dict[str, UncommittedGraph] = {}
        self.remarks: OrderedDict[tuple[str, str], tuple[str, str]] = OrderedDict()
        self.running: str = ""
        self.serial = 0
        self.schemas: dict[str, str] = {}
        # The server's own graphs are sampled; what a query names and they lack, EXPLAIN tells.
        self.knows_all_names = folder is not None
        if folder is not None and self._count_nodes():
            raise ExecutionError(
                f"{url} holds data; a Neo4jExecutor with databases makes its graphs in transactions of its own and "
                "needs an empty server (tools/neo4j/start.sh brings one up); without databases it reads what is there"
            )

    @property
    def note(self) -> str:
        return "" if self.folder is not None and self.count > 1 else "decided on a single variant of the data"

    def original(self, database: str) -> str:
        if self.folder is None:
            return database
        if database not in self.loaded:
            file = read_graph(self.folder, database)
            original = self._store(lambda transaction: run_file(transaction, file))
            self.loaded[database] = (read_back(self.open[original].transaction, file), [original])
        return self.loaded[database][1][0]

    def schema(self, database: str) -> str:
        original = self.original(database)
        if database not in self.schemas:
            if self.folder is None:
                inventory = self._sample(original)
            else:
                graph = self.loaded[database][0]
                inventory = Inventory.of(graph, lambda value: type_name(read_value(value, Budget())))
            self.schemas[database] = inventory.text()
        return self.schemas[database]

    def _sample(self, variant: str) -> Inventory:
        import neo4j

        session = self.driver.session(database=self._place(variant), default_access_mode=neo4j.READ_ACCESS)
        try:
            with session, session.begin_transaction(timeout=OWN_S) as transaction:
                return sample(transaction)
        except (neo4j.exceptions.DriverError, neo4j.exceptions.Neo4jError, Unreadable) as error:
            raise ExecutionError(f"Neo4j does not tell what {variant!r} holds: {reason(error)}") from None

    def variants(self, database: str) -> Sequence[str]:
        self.original(database)
        if self.folder is None:
            return [database]
        graph, names = self.loaded[database]
        for number in range(len(names), self.count):
            names.append(self._copy(perturbed(graph, f"{database}/{number}", duplicates=number > 1)))
        return names[: self.count]

    def directed(self, database: str, wanted: Wanted, seed: int) -> str | None:
        if self.folder is None or self.count < 2:
            return None
        graph = self.loaded[database][0]
        return self._copy(perturbed(graph, f"{database}/directed/{seed}", seed % 2 == 1, wanted))

    def shuffled(self, database: str) -> str | None:
        if self.folder is None:
            return None
        graph, names = self.loaded[database]
        if len(names) == self.count:
            names.append(self._copy(shuffled(graph, database)))
        return names[-1]

    def drop(self, variant: str) -> None:
        self.open.pop(variant).close()

    def fetch(self, variant: str, query: str, limits: Limits) -> Result:
        def run() -> Result:
            fault, _ = self._explained(variant, query)
            if fault:
                return Result(fault=fault)
            with self._transaction(variant) as transaction:
                return _rows(transaction.run(query), limits)

        return self._told(run)

    def explain(self, variant: str, query: str) -> Result:
        def explain() -> Result:
            fault, unknown = self._explained(variant, query)
            return Result(fault=fault or unknown)

        return self._told(explain)

    def _told(self, work: Callable[[], Result]) -> Result:
        """What the server says of a query's work, its errors told apart: the query's, and the server's own."""
        import neo4j.exceptions

        try:
            return work()
        except Unreadable as error:
            return Result(fault=str(error))
        except neo4j.exceptions.BrokenRecordError:
            return Result(fault=UNREAD)
        except neo4j.exceptions.ClientError as error:
            return Result(fault=reason(error))
        except neo4j.exceptions.TransientError as error:
            if "OutOfMemory" in (error.code or "") or "Terminated" in (error.code or ""):
                return Result(fault=reason(error))
            raise ExecutionError(f"Neo4j: {reason(error)}") from None
        except neo4j.exceptions.DatabaseError as error:
            return Result(fault=reason(error))
        except (neo4j.exceptions.DriverError, neo4j.exceptions.Neo4jError) as error:
            raise ExecutionError(f"Neo4j: {reason(error)}") from None
        finally:
            self.running = ""

    def interrupt(self) -> None:
        identity = self.running
        if identity:
            self.running = ""
            self._terminate(identity)

    def remark(self, query: str) -> str:
        """The names that the server does not know, as EXPLAIN's notifications tell them."""
        return next((remark for (_, text), (_, remark) in self.remarks.items() if text == query), "")

    def _explained(self, variant: str, query: str) -> tuple[str, str]:
        """Why a query is refused, and what its plan's notifications say."""
        place = (variant, query)
        if place not in self.remarks:
            import neo4j

            session = self.driver.session(database=self._place(variant), default_access_mode=neo4j.READ_ACCESS)
            with session, session.begin_transaction(timeout=self.timeout_s) as transaction:
                summary = transaction.run(f"EXPLAIN {query}").consume()
            fault = refusal(summary.query_type, summary.plan)
            unknown = [
                f"Neo4j knows no such {_UNKNOWN[status.gql_status]}: {status.status_description[:120]}"
                for status in summary.gql_status_objects
                if status.gql_status in _UNKNOWN
            ]
            while len(self.remarks) >= _MAX_REMARKS:
                self.remarks.popitem(last=False)
            self.remarks[place] = (fault, "; ".join(unknown))
        return self.remarks[place]

    @contextlib.contextmanager
    def _transaction(self, variant: str) -> Iterator[Any]:
        """The transaction that a query runs in: one that reads, or the one in which the variant was made."""
        if self.folder is None:
            import neo4j

            session = self.driver.session(database=self._place(variant), default_access_mode=neo4j.READ_ACCESS)
            with session, session.begin_transaction(timeout=self.timeout_s) as transaction:
                yield transaction
            return
        store = self.open[variant]
        self.running = store.identity
        try:
            yield store.transaction
        except BaseException:
            # An error, and a result that is not read to its end, end the transaction: the variant is made again.
            self.running = ""
            self._terminate(store.identity)
            store.close()
            store.make()
            raise
        finally:
            self.running = ""

    def _terminate(self, identity: str) -> None:
        """End a transaction of this worker's; one that has ended already is none to the server, which says no more."""
        with self.driver.session(database="system") as session:
            session.run("TERMINATE TRANSACTIONS $name", name=identity).consume()

    def _place(self, variant: str) -> str | None:
        """The server's database; None for its home database."""
        return None if self.folder is not None or self.graph else variant

    def _count_nodes(self) -> int:
        import neo4j

        query = neo4j.Query("MATCH (n) RETURN count(n) AS n", timeout=OWN_S)
        try:
            with self.driver.session() as session:
                record = session.run(query).single()
        except (neo4j.exceptions.DriverError, neo4j.exceptions.Neo4jError) as error:
            raise ExecutionError(f"Neo4j does not tell whether it is empty: {reason(error)}") from None
        return int(record["n"]) if record is not None else 0

    def _copy(self, graph: Graph) -> str:
        return self._store(lambda transaction: fill(transaction, graph))

    def _store(self, fill: Callable[[Any], None]) -> str:
        self.serial += 1
        name = f"variant {self.serial}"
        self.open[name] = UncommittedGraph(self.driver, fill)
        return name


def _rows(found: Any, limits: Limits) -> Result:
    budget, columns, cut = Budget(limits.size), tuple(found.keys()), ""
    rows: list[tuple[Any, ...]] = []
    for record in found:
        if len(rows) == limits.rows:
            cut = too_many(limits)
            break
        try:
            rows.append(tuple(read_value(value, budget) for value in record.values()))
        except TooLarge:
            cut = too_large(limits)
            break
    if cut:
        found.consume()  # the server makes no more rows, and the transaction can go on
    return Result(rows, len(columns), columns, cut=cut)
