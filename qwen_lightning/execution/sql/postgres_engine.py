"""A real Postgres as the engine: read-only transactions of a role that is no superuser, rolled back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlglot import exp

from qwen_lightning.errors import DataError, ExecutionError
from qwen_lightning.execution.base import Limits
from qwen_lightning.execution.results import JUDGED, Result, take
from qwen_lightning.execution.sql.catalog import ANY_TYPE
from qwen_lightning.execution.sql.dataset import Dataset, Row, load_dataset
from qwen_lightning.execution.sql.duckdb_engine import database_file
from qwen_lightning.execution.sql.engine import Engine, Runnable
from qwen_lightning.execution.sql.postgres_schema import read_ddl
from qwen_lightning.execution.sql.postgres_values import show_exactly
from qwen_lightning.execution.sql.translation import freeze_clock
from qwen_lightning.execution.sql.variants import perturbed, shuffled
from qwen_lightning.execution.sql.wanted import Wanted
from qwen_lightning.execution.worker import WorkerSpent

PREFIX = "qwen_lightning_variant_"
_SCRATCH = "scratch"  # place of the variants, which live as long as their connection
_MAX_CONNECTIONS = 8
_BEGIN = "BEGIN TRANSACTION READ ONLY"
# Roles whose members can leave the database through the server.
_DANGEROUS = ("pg_execute_server_program", "pg_read_server_files", "pg_write_server_files")


def connect(url: str, database: str | None = None) -> psycopg.Connection[Any]:
    """Connect, and refuse a role that could do harm.

    Raises:
        ExecutionError: No connection, or the role is a superuser or may reach the server's files or programs.
    """
    named: dict[str, Any] = {"dbname": database} if database else {}
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=10, **named)
    except psycopg.Error as error:
        reason = str(error).splitlines()[0]
        raise ExecutionError(f"Postgres cannot be reached ({reason}); start the server, or mend the address") from None
    row = connection.execute("SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    name, superuser = row or ("?", True)
    granted = connection.execute(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) AND pg_has_role(oid, 'member')", (list(_DANGEROUS),)
    ).fetchall()
    if superuser or granted:
        connection.close()
        what = "a superuser" if superuser else f"a member of {granted[0][0]}"
        raise ExecutionError(
            f"Postgres role {name!r} is {what}; queries of a model run under a plain role (CREATE ROLE ... LOGIN)"
        )
    return connection


def databases_on(url: str) -> tuple[set[str], set[str]]:
    """Names of the server's databases, and of the schemas in the address's own database.

    Raises:
        ExecutionError: The server cannot be used.
    """
    with connect(url) as connection:
        bases = connection.execute(
            "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate "
            "AND has_database_privilege(datname, 'CONNECT')"
        ).fetchall()
        schemas = connection.execute(
            "SELECT nspname FROM pg_namespace "
            "WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')"
        ).fetchall()
    return {name for (name,) in bases}, {name for (name,) in schemas}


def drop_abandoned(scratch_url: str) -> None:
    """Drop the variants of workers that are gone."""
    with connect(scratch_url) as connection:
        alive = {str(pid) for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity").fetchall()}
        for (name,) in connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE %s", (PREFIX + "%",)
        ).fetchall():
            if name.removeprefix(PREFIX).split("_")[0] not in alive:
                connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


class PostgresEngine(Engine):
    """Runs queries as they stand.

    Args:
        url: `postgresql://user@host/database`. A record's database is the server's database of that name, or else the
            schema of that name in the address's own database, or else built in the scratch database.
        folder: Databases folder, from which variants are built.
        scratch_url: Address of a database in which the role may create schemas for variants.
        variants: How many variants of the data to match on, the original included, where there is a scratch database.
        timeout_s: `statement_timeout`, seconds.

    Raises:
        ExecutionError: A server cannot be used.
    """

    def __init__(self, url: str, folder: Path | None, scratch_url: str, variants: int, timeout_s: float) -> None:
        self.url, self.folder, self.scratch_url = url, folder, scratch_url
        self.count = variants if scratch_url and folder is not None else 1
        self.timeout_ms = max(1, int(timeout_s * 900))
        self.bases, self.schemas = databases_on(url)
        self.connections: dict[str, psycopg.Connection[Any]] = {}
        self.loaded: dict[str, list[str]] = {}
        self.places: dict[str, tuple[str, str | None]] = {}
        self.data: dict[str, Dataset] = {}
        self.running: psycopg.Connection[Any] | None = None
        self.serial = 0
        if scratch_url:
            drop_abandoned(scratch_url)

    @property
    def note(self) -> str:
        return "" if self.count > 1 else "decided on a single variant of the data: no scratch database"

    def original(self, database: str) -> str:
        if database not in self.loaded:
            original = f"original {database}"
            if database in self.bases:
                self.places[original] = (database, None)
            elif database in self.schemas:
                self.places[original] = ("", database)
            elif self.count > 1:
                original = self._store(self._dataset(database), self._dataset(database).rows)
            else:
                raise DataError(f"Postgres has neither a database nor a schema named {database!r}")
            self.loaded[database] = [original]
        return self.loaded[database][0]

    def schema(self, database: str) -> str:
        place, schema = self.places[self.original(database)]
        try:
            with self._reading(place, schema) as connection:
                return read_ddl(connection)
        except psycopg.Error as error:
            self._check_open(place, error)
            raise ExecutionError(f"Postgres does not tell what {database!r} holds: {_first_line(error)}") from None

    def variants(self, database: str) -> Sequence[str]:
        self.original(database)
        names = self.loaded[database]
        for number in range(len(names), self.count):
            dataset = self._dataset(database)
            names.append(self._store(dataset, perturbed(dataset, f"{database}/{number}", duplicates=number > 1)))
        return names

    def directed(self, database: str, wanted: Wanted, seed: int) -> str | None:
        if self.count < 2:
            return None
        dataset = self._dataset(database)
        return self._store(
            dataset, perturbed(dataset, f"{database}/directed/{seed}", duplicates=seed % 2 == 1, wanted=wanted)
        )

    def shuffled(self, database: str) -> str | None:
        return (
            None
            if self.count < 2
            else self._store(self._dataset(database), shuffled(self._dataset(database), database))
        )

    def drop(self, variant: str) -> None:
        place, schema = self.places.pop(variant)
        if schema is not None:
            try:
                self._connection(place).execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
            except psycopg.Error as error:
                self._check_open(place, error)
                raise ExecutionError(f"Postgres does not drop a variant: {_first_line(error)}") from None

    def run(self, variant: str, query: Runnable) -> Result:
        return self._fetched(variant, query, JUDGED, shown=False).whole

    def fetch(self, variant: str, query: Runnable, limits: Limits) -> Result:
        return self._fetched(variant, query, limits, shown=True)

    def _fetched(self, variant: str, query: Runnable, limits: Limits, shown: bool) -> Result:
        def read(connection: psycopg.Connection[Any], text: bytes) -> Result:
            with connection.cursor(name="model_query") as cursor:
                if shown:
                    show_exactly(cursor)
                cursor.execute(text)
                columns = tuple(column.name for column in cursor.description or ())
                rows, cut = take(cursor.fetchmany, limits)
            return Result(rows, len(columns), columns, cut=cut)

        return self._run(variant, query, read)

    def explain(self, variant: str, query: Runnable) -> Result:
        def plan(connection: psycopg.Connection[Any], text: bytes) -> Result:
            connection.execute(b"EXPLAIN " + text)
            return Result()

        return self._run(variant, query, plan)

    def _run(self, variant: str, query: Runnable, use: Callable[[psycopg.Connection[Any], bytes], Result]) -> Result:
        """What is done with the query's text in a read-only transaction, within the limit of time."""
        place, schema = self.places[variant]
        text = _text(query, unqualified=schema is not None).strip().rstrip(";").encode()
        try:
            with self._reading(place, schema) as connection:
                self.running = connection
                connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(self.timeout_ms)))
                return use(connection, text)
        except psycopg.errors.QueryCanceled:
            return Result(fault="ran past its time limit")
        except psycopg.Error as error:
            self._check_open(place, error)
            return Result(fault=_first_line(error))
        finally:
            self.running = None

    def _check_open(self, place: str, error: psycopg.Error) -> None:
        """Tell a connection that was lost from a query's fault; the next query opens another one.

        Raises:
            WorkerSpent: It held the variants.
            ExecutionError: It was another one.
        """
        if place in self.connections and self.connections[place].closed:
            if place == _SCRATCH:
                raise WorkerSpent("the connection to the scratch database was lost, and all variants with it")
            raise ExecutionError(f"Postgres ended the connection: {_first_line(error)}") from None

    @contextlib.contextmanager
    def _reading(self, place: str, schema: str | None) -> Iterator[psycopg.Connection[Any]]:
        """A connection in a read-only transaction, which looks at the schema alone where one is named."""
        connection = self._begun(place)
        try:
            connection.execute("SET LOCAL TimeZone = 'UTC'")
            if schema is not None:
                connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(schema)))
            yield connection
        finally:
            if not connection.closed:
                connection.execute("ROLLBACK")

    def _begun(self, place: str) -> psycopg.Connection[Any]:
        """A connection whose transaction has begun; one that was lost while it was idle is made anew."""
        try:
            connection = self._connection(place)
            connection.execute(_BEGIN)
        except psycopg.OperationalError:
            if not connection.closed:
                raise
            connection = self._connection(place)
            connection.execute(_BEGIN)
        return connection

    def interrupt(self) -> None:
        connection = self.running
        if connection is not None:
            with contextlib.suppress(psycopg.Error):  # it is lost: the query ends without this
                connection.cancel()

    def _dataset(self, database: str) -> Dataset:
        if database not in self.data:
            if self.folder is None:
                raise DataError(f"variants of {database!r} need a databases folder")
            self.data[database] = load_dataset(database_file(self.folder, database))
        return self.data[database]

    def _connection(self, place: str) -> psycopg.Connection[Any]:
        """A connection, not one that is known to be lost.

        Raises:
            ExecutionError: None can be made.
            WorkerSpent: It was the one of the variants.
        """
        if place in self.connections and self.connections[place].closed:
            if place == _SCRATCH:
                raise WorkerSpent("the connection to the scratch database was lost, and all variants with it")
            del self.connections[place]
        if place not in self.connections:
            scratch = place == _SCRATCH
            others = [other for other in self.connections if other != _SCRATCH]
            if not scratch and len(others) >= _MAX_CONNECTIONS:
                self.connections.pop(others[0]).close()  # the one that was opened first
            self.connections[place] = connect(self.scratch_url) if scratch else connect(self.url, place or None)
        return self.connections[place]

    def _store(self, dataset: Dataset, rows: dict[str, list[Row]]) -> str:
        connection = self._connection(_SCRATCH)
        self.serial += 1
        name = f"{PREFIX}{connection.info.backend_pid}_{self.serial}"
        try:
            with connection.transaction():
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
                connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(name)))
                for table in dataset.schema.tables.values():
                    columns = [
                        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(_declared(kind)))
                        for column, kind in table.columns.items()
                    ]
                    if table.primary:
                        columns.append(
                            sql.SQL("PRIMARY KEY ({})").format(sql.SQL(", ").join(map(sql.Identifier, table.primary)))
                        )
                    connection.execute(
                        sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(table.name), sql.SQL(", ").join(columns))
                    )
                    with (
                        connection.cursor() as cursor,
                        cursor.copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table.name))) as copy,
                    ):
                        for row in rows[table.name]:
                            copy.write_row(row)
                for view, text in dataset.schema.views.items():
                    connection.execute(sql.SQL("CREATE VIEW {} AS ").format(sql.Identifier(view)) + sql.SQL(text))
        except psycopg.errors.InsufficientPrivilege as error:
            raise ExecutionError(
                f"the scratch database takes no schemas: {_first_line(error)}; GRANT CREATE ON DATABASE"
            ) from None
        except psycopg.Error as error:
            self._check_open(_SCRATCH, error)
            raise DataError(f"a variant cannot be built in Postgres: {_first_line(error)}") from None
        self.places[name] = (_SCRATCH, name)
        return name


def _text(query: Runnable, unqualified: bool) -> str:
    """The query as it stands, or as rewritten: clocks frozen, and in a variant names without their schema."""
    parsed = query.parsed
    native = freeze_clock(parsed.native, query.now)
    if unqualified and any(table.args.get("db") is not None for table in native.find_all(exp.Table)):
        native = native.copy()
        for node in native.find_all(exp.Table, exp.Column):
            node.set("db", None)
            node.set("catalog", None)
    return parsed.text if native is parsed.native and not parsed.rewritten else native.sql("postgres")


def _declared(kind: str) -> str:
    if kind.startswith("_"):
        return _declared(kind[1:]) + "[]"
    return "text" if kind == ANY_TYPE else "varchar" if kind == "bpchar" else kind


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
