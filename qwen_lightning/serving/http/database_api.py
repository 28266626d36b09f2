"""The endpoints of databases: which there are, and the result of a query that reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.requests import ClientDisconnect

from qwen_lightning.errors import DataError, ExecutionError, RequestError
from qwen_lightning.execution.base import QueryTable
from qwen_lightning.serving.databases import LANGUAGES, Databases
from qwen_lightning.serving.http.bodies import decode_json, read_body
from qwen_lightning.serving.http.errors import HTTPFault, fault_of
from qwen_lightning.serving.query_threads import QueryThreads
from qwen_lightning.serving.requests import RequestPart, validated

_GONE = 499  # a client that went before its answer, as nginx counts it
_KEPT_S = 300.0  # how long a description is kept; one that failed is not. Of these, a Postgres's alone may change
_AT_ONCE = 2  # databases described at once: threads are left for queries


class QueryRequest(RequestPart):
    """A query to run."""

    database: str = Field(min_length=1)
    language: Literal["sql", "cypher"]
    query: str = Field(min_length=1)


class DatabaseAPI:
    """GET /databases and POST /query.

    Args:
        databases: What is asked.
        threads: Where.
        body_bytes: Longest body, in bytes.
        body_seconds: Longest time for a body to arrive, in seconds.
        count: Called with language and status of each query.
    """

    def __init__(
        self,
        databases: Databases,
        threads: QueryThreads,
        body_bytes: int,
        body_seconds: float,
        count: Callable[[str, int], None],
    ) -> None:
        self._databases, self._threads, self._count = databases, threads, count
        self._body_bytes, self._body_seconds = body_bytes, body_seconds
        self._listing = asyncio.Lock()
        self._kept: dict[tuple[str, str], tuple[float, dict[str, Any] | None]] = {}

    def add_to(self, router: APIRouter) -> None:
        """Add the endpoints to a router."""
        router.add_api_route("/databases", self.names, methods=["GET"], response_model=None)
        router.add_api_route("/query", self.query, methods=["POST"], response_model=None)

    async def names(self) -> Response:
        """The databases with their schemas; those without a table or a labelled node are left out."""
        try:
            async with self._listing:  # who asks meanwhile gets what is read already
                return JSONResponse({"object": "list", "data": await self._read()})
        except Exception as error:
            return fault_of(error).response()

    async def query(self, request: Request) -> Response:
        """Run one query."""
        language = ""
        try:
            body = await read_body(request, self._body_bytes, self._body_seconds)
            wanted = await asyncio.to_thread(lambda: validated(QueryRequest, decode_json(body), "a query's request"))
            language = wanted.language
            table = await self._threads.admit(lambda: self._run(wanted))
        except ClientDisconnect:
            self._count(language, _GONE)
            return Response(status_code=_GONE)
        except Exception as error:
            fault = fault_of(error)
            self._count(language, fault.status)
            return fault.response()
        self._count(language, 200)
        return JSONResponse(
            {
                "columns": table.columns,
                "rows": table.rows,
                "truncated": table.truncated,
                "seconds": round(table.seconds, 6),
            }
        )

    def _run(self, wanted: QueryRequest) -> QueryTable:
        try:
            return self._databases.run(wanted.language, wanted.database, wanted.query)
        except RequestError:
            raise
        except DataError as error:  # its file is the server's, and no fault of the request
            raise HTTPFault(500, str(error), code="database_broken") from None

    async def _read(self) -> list[dict[str, Any]]:
        named = [
            (language, name)
            for language in LANGUAGES.values()
            for name in await self._threads.do(lambda language=language: self._databases.names(language))  # type: ignore[misc]
        ]
        turns = asyncio.Semaphore(_AT_ONCE)

        async def entry(language: str, name: str) -> dict[str, Any] | None:
            async with turns:
                at, kept = self._kept.get((language, name), (float("-inf"), None))
                if time.monotonic() - at > _KEPT_S or (kept and "error" in kept):
                    kept = await self._threads.do(lambda: self._entry(language, name))
                    self._kept[language, name] = time.monotonic(), kept
                return kept

        found = await asyncio.gather(*(entry(*place) for place in named))
        return [each for each in found if each is not None]

    def _entry(self, language: str, name: str) -> dict[str, Any] | None:
        entry = {"id": name, "object": "database", "language": language}
        try:
            schema = self._databases.describe(language, name)
        except RequestError:
            return None  # it went while the list was made
        except (DataError, ExecutionError) as error:
            # One that is broken keeps nobody from the others, and says so itself.
            return {**entry, "schema": "", "error": str(error)}
        return {**entry, "schema": schema} if schema else None
