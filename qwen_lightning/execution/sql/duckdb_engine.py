"""DuckDB as the engine: one locked in-memory instance a worker, a DuckDB schema for each variant of each database."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import duckdb

from qwen_lightning.errors import DataError
from qwen_lightning.execution.base import Limits
from qwen_lightning.execution.results import Result, take
from qwen_lightning.execution.sql.dataset import Dataset, Row, create_tables, fill_tables, load_dataset, quote, read_ddl
from qwen_lightning.execution.sql.engine import Engine, Runnable
from qwen_lightning.execution.sql.parsing import NotParsed, parse_query
from qwen_lightning.execution.sql.translation import Untranslatable, to_duckdb
from qwen_lightning.execution.sql.variants import perturbed, shuffled
from qwen_lightning.execution.sql.wanted import Wanted

# Set at connect time; lock_configuration comes last, when nothing is left to set.
_SANDBOX = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_unsigned_extensions": "false",
    "python_enable_replacements": "false",
    "max_temp_directory_size": "0KB",
    "temp_directory": "",  # not even an empty folder where the trainer runs
    "threads": "1",
}
# The order of NULLs stays DuckDB's own: the translation spells out where Postgres's differs from it.
_POSTGRES_SEMANTICS = {"integer_division": "true"}
# What fails for want of a feature, once the static analysis has found nothing to blame the query for.
_GAPS = (
    duckdb.CatalogException,
    duckdb.BinderException,
    duckdb.ParserException,
    duckdb.NotImplementedException,
    duckdb.InternalException,
)
_MAX_DATABASES = 24
# Stands for the variant in a translation, which serves all of them.
_ANY_VARIANT = "the variant that is asked"


class DuckDBEngine(Engine):
    """Runs translated Postgres on DuckDB.

    Args:
        folder: Databases folder.
        variants: How many variants of the data to match on, the original included.
        memory_limit: DuckDB's own limit, as DuckDB writes it.
    """

    note = ""

    def __init__(self, folder: Path, variants: int, memory_limit: str = "512MB") -> None:
        self.folder, self.count = folder, variants
        self.connection = duckdb.connect(
            ":memory:", config={**_SANDBOX, **_POSTGRES_SEMANTICS, "memory_limit": memory_limit}
        )
        self.connection.execute("SET GLOBAL TimeZone = 'UTC'")
        self.connection.execute("SET lock_configuration = true")
        self.loaded: OrderedDict[str, tuple[Dataset, list[str]]] = OrderedDict()
        self.cursor: duckdb.DuckDBPyConnection | None = None
        self.serial = 0

    def original(self, database: str) -> str:
        if database in self.loaded:
            self.loaded.move_to_end(database)
            return self.loaded[database][1][0]
        while len(self.loaded) >= _MAX_DATABASES:
            for name in self.loaded.popitem(last=False)[1][1]:
                self.drop(name)
        dataset = load_dataset(database_file(self.folder, database))
        self.loaded[database] = (dataset, [self._store(dataset, dataset.rows)])
        return self.loaded[database][1][0]

    def schema(self, database: str) -> str:
        if database in self.loaded:
            return self.loaded[database][0].ddl
        return read_ddl(database_file(self.folder, database))

    def variants(self, database: str) -> Sequence[str]:
        self.original(database)
        dataset, names = self.loaded[database]
        for number in range(len(names), self.count):
            rows = perturbed(dataset, f"{database}/{number}", duplicates=number > 1)
            names.append(self._store(dataset, rows))
        return names

    def directed(self, database: str, wanted: Wanted, seed: int) -> str | None:
        if self.count < 2:
            return None
        dataset = self.loaded[database][0]
        return self._store(
            dataset, perturbed(dataset, f"{database}/directed/{seed}", duplicates=seed % 2 == 1, wanted=wanted)
        )

    def shuffled(self, database: str) -> str | None:
        dataset = self.loaded[database][0]
        return self._store(dataset, shuffled(dataset, database))

    def _store(self, dataset: Dataset, rows: dict[str, list[Row]]) -> str:
        self.serial += 1
        name = f"variant {self.serial}"
        create_tables(self.connection, name, dataset)
        fill_tables(self.connection, name, dataset, rows)
        for view, text in dataset.schema.views.items():
            self._create_view(name, view, text)
        return name

    def _create_view(self, namespace: str, name: str, text: str) -> None:
        try:
            body = to_duckdb(Runnable(parse_query(text)), namespace)
            self.connection.execute(f"CREATE VIEW {quote(namespace)}.{quote(name)} AS {body}")
        except (NotParsed, Untranslatable, duckdb.Error):
            # A query that reads the view finds it missing, which is a gap of the engine, not of the query.
            return

    def drop(self, variant: str) -> None:
        self.connection.execute(f"DROP SCHEMA {quote(variant)} CASCADE")

    def fetch(self, variant: str, query: Runnable, limits: Limits) -> Result:
        return self._execute(variant, query, limits)

    def explain(self, variant: str, query: Runnable) -> Result:
        return self._execute(variant, query, None)

    def _execute(self, variant: str, query: Runnable, limits: Limits | None) -> Result:
        """The query's rows; without limits it is planned, and has none."""
        try:
            if not query.translated:
                query.translated.append(to_duckdb(query, _ANY_VARIANT))
        except Untranslatable as error:
            return Result(gap=str(error))
        text = query.translated[0].replace(quote(_ANY_VARIANT), quote(variant))
        try:
            statements = self.connection.extract_statements(text)
        except duckdb.Error as error:
            return Result(gap=f"DuckDB cannot parse the translation: {_first_line(error)}")
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            return Result(fault="no single SELECT statement")
        self.cursor = cursor = self.connection.cursor()
        try:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            if limits is None:
                cursor.execute(f"EXPLAIN {text}")
                return Result()
            cursor.execute(statements[0])
            columns = tuple(str(column[0]) for column in cursor.description or ())
            rows, cut = take(cursor.fetchmany, limits)
        except _GAPS as error:
            return Result(gap=f"DuckDB: {_first_line(error)}")
        except duckdb.InterruptException:
            return Result(fault="ran past its time limit")
        except duckdb.ConversionException as error:
            reason = _first_line(error)
            return Result(gap=f"DuckDB: {reason}") if "Unimplemented" in reason else Result(fault=reason)
        except (duckdb.Error, MemoryError, OverflowError, ValueError) as error:
            return Result(fault=_first_line(error))
        finally:
            self.cursor = None
            cursor.close()
        return Result(rows, len(columns), columns, cut=cut)

    def interrupt(self) -> None:
        cursor = self.cursor
        if cursor is not None:
            cursor.interrupt()


def database_file(folder: Path, name: str) -> Path:
    """The file of a database.

    Raises:
        DataError: The folder holds none of that name.
    """
    for suffix in (".sql", ".duckdb"):
        path = folder / (name + suffix)
        if Path(name).name == name and path.is_file():
            return path
    raise DataError(f"database {name!r} is not in {folder}; a databases folder holds {name}.sql or {name}.duckdb")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
