"""The databases that a server has: those of its tasks' executors, by language and name."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from qwen_lightning.errors import ExecutionError, RequestError
from qwen_lightning.execution.base import Explanation, QueryExecutor, QueryTable
from qwen_lightning.tasks.queries import QueryTask
from qwen_lightning.tasks.registry import TaskRegistry

#: Task to the language of its queries.
LANGUAGES = {"text2sql": "sql", "text2cypher": "cypher"}
_NAMED = {"sql": "SQL", "cypher": "Cypher"}
_METHODS = ("database_names", "describe", "explain", "run")
_TOLD = 40  # names in an error
_UNREACHABLE_S = 15.0  # how long a server that could not be reached is not tried again


class Databases:
    """What may be asked of databases by name. All of it blocks; a database may take seconds to be loaded.

    Args:
        tasks: The tasks whose executors have them. One that only judges queries has none here.
    """

    def __init__(self, tasks: TaskRegistry) -> None:
        self._executors: Mapping[str, QueryExecutor] = {
            language: executor
            for name, language in LANGUAGES.items()
            if (executor := _executor(tasks, name)) is not None
        }
        self._turns = {language: threading.Lock() for language in self._executors}
        self._unreachable: dict[str, tuple[float, ExecutionError]] = {}

    def names(self, language: str) -> list[str]:
        """The databases of a language, `sql` or `cypher`.

        Raises:
            ExecutionError: Their server cannot be reached.
        """
        executor = self._executors.get(language)
        return [] if executor is None else executor.database_names()

    def check(self, name: str, task: str | None = None, field: str = "metadata.database") -> None:
        """See that there is a database of a name.

        Args:
            name: The name.
            task: A task whose queries must run on it; others ask no language of it.
            field: The request's field that names it.

        Raises:
            RequestError: There is none; the message names those that there are.
            ExecutionError: Their server cannot be reached.
        """
        wanted = LANGUAGES.get(task or "")
        self.find(name, tuple(LANGUAGES.values()) if wanted is None else (wanted,), field)

    def find(self, name: str, languages: tuple[str, ...], field: str) -> QueryExecutor:
        """The executor that has a database in one of these languages.

        Raises:
            RequestError: None has; the message names the databases that there are.
            ExecutionError: Their server cannot be reached.
        """
        for language in languages:
            executor = self._executors.get(language)
            if executor is not None and self._has(language, executor, name):
                return executor
        what = " or ".join(_NAMED[language] for language in languages)
        there = list(dict.fromkeys(other for language in languages for other in self.names(language)))
        listed = ", ".join(there[:_TOLD]) + (f" and {len(there) - _TOLD} more" if len(there) > _TOLD else "")
        known = f"there are {listed}" if there else "there are none; --databases names a folder of them"
        raise RequestError(field, f"there is no database {name!r} for {what}; {known}")

    def _has(self, language: str, executor: QueryExecutor, name: str) -> bool:
        """Whether an executor has a database; a server that could not be reached is not tried again for a while.

        Raises:
            ExecutionError: It cannot be reached.
        """
        with self._turns[language]:  # who comes while another tries gets what that one found
            at, error = self._unreachable.get(language, (0.0, None))
            if error is not None and time.monotonic() - at < _UNREACHABLE_S:
                raise error.with_traceback(None)
            try:
                found = executor.has_database(name)
            except ExecutionError as error:
                self._unreachable[language] = time.monotonic(), error
                raise
            self._unreachable.pop(language, None)
            return found

    def describe(self, language: str, name: str) -> str:
        """A database's schema as a record's `schema` holds it; empty where it holds nothing.

        Raises:
            RequestError: There is no such database.
            DataError: It cannot be read.
            ExecutionError: Its server cannot be reached.
        """
        return self.find(name, (language,), "database").describe(name)

    def explain(self, language: str, name: str, query: str) -> Explanation:
        """Whether a database takes a query, which is not run; raises as `describe` does."""
        return self.find(name, (language,), "metadata.database").explain(name, query)

    def run(self, language: str, name: str, query: str) -> QueryTable:
        """A query's result; raises as `describe` does, and QueryError where the database does not take the query."""
        return self.find(name, (language,), "database").run(name, query)


def _executor(tasks: TaskRegistry, name: str) -> QueryExecutor | None:
    task = tasks[name]
    executor = task.executor if isinstance(task, QueryTask) else None
    made = executor is not None and all(
        getattr(type(executor), method) is not getattr(QueryExecutor, method) for method in _METHODS
    )
    return executor if made else None
