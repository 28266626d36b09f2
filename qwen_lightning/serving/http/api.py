"""The HTTP interface: OpenAI's chat completions and models, health and metrics."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from qwen_lightning.errors import ConfigError, RequestError
from qwen_lightning.serving.http.bodies import decode_json, read_body
from qwen_lightning.serving.http.database_api import DatabaseAPI
from qwen_lightning.serving.http.errors import HTTPFault, fault_of
from qwen_lightning.serving.http.monitoring import CONTENT_TYPE, Metrics
from qwen_lightning.serving.http.page import page
from qwen_lightning.serving.http.sites import refuse_other_sites
from qwen_lightning.serving.outcomes import Outcome
from qwen_lightning.serving.requests import ChatRequest, parse_request
from qwen_lightning.serving.routing.router import BASE
from qwen_lightning.serving.service import ChatService, Job

T = TypeVar("T")
_REASON = 400  # characters of a reason in a header; the body has all of it
_GONE = 499  # a client that went before its answer, as nginx counts it


@dataclass(frozen=True, slots=True)
class HTTPSettings:
    """What the interface asks of clients.

    Args:
        api_keys: Keys of which a client must send one as its bearer token; none: all may ask.
        body_bytes: Longest body, in bytes.
        body_seconds: Longest time for a body to arrive, in seconds.
        loopback: The name or address listened on, where only this machine's programs reach it; None: others do. A
            browser is such a program: without keys, what it sends for pages of other sites is refused.

    Raises:
        ConfigError: A limit is not above 0.
    """

    api_keys: tuple[str, ...] = ()
    body_bytes: int = 1 << 20
    body_seconds: float = 30.0
    loopback: str | None = None

    def __post_init__(self) -> None:
        for name in ("body_bytes", "body_seconds"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0")


def create_app(service: ChatService, settings: HTTPSettings | None = None) -> FastAPI:
    """The application; whoever runs it closes engine and service in the end."""
    app = FastAPI(title="qwen_lightning", openapi_url=None)
    api = _API(service, settings or HTTPSettings())
    guarded = APIRouter(prefix="/v1", dependencies=[Depends(api.authorize)])
    guarded.add_api_route("/chat/completions", api.chat, methods=["POST"], response_model=None)
    guarded.add_api_route("/models", api.models, methods=["GET"], response_model=None)
    guarded.add_api_route("/models/{name}", api.model, methods=["GET"], response_model=None)
    api.databases.add_to(guarded)
    app.include_router(guarded)
    app.add_api_route("/", page, methods=["GET", "HEAD"], response_model=None)
    app.add_api_route("/health", api.health, methods=["GET"], response_model=None)
    app.add_api_route("/metrics", api.show_metrics, methods=["GET"], response_model=None)
    app.add_exception_handler(HTTPFault, _answer_fault)
    app.add_exception_handler(HTTPException, _answer_http)
    return app


async def _answer_fault(_: Request, error: Exception) -> Response:
    return fault_of(error).response()


async def _answer_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    said = {404: "there is no such path; see /v1/models and /v1/chat/completions", 405: "another method is wanted here"}
    headers = getattr(error, "headers", None)
    return HTTPFault(status, said.get(status, "the request cannot be answered"), headers=headers).response()


class _API:
    def __init__(self, service: ChatService, settings: HTTPSettings) -> None:
        self._service, self._settings, self._metrics = service, settings, Metrics(service.engine)
        self._keys = [_digest(key) for key in settings.api_keys]
        self._began = int(time.time())
        self.databases = DatabaseAPI(
            service.planner.databases,
            service.queries,
            settings.body_bytes,
            settings.body_seconds,
            lambda language, status: self._metrics.queries.labels(language, str(status)).inc(),
        )

    async def authorize(self, request: Request) -> None:
        """Refuse who sends no key that is known; where there are none, pages of other sites."""
        if not self._keys:
            if self._settings.loopback is not None:
                refuse_other_sites(request, self._settings.loopback)
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        # Compared as digests, all of them: the time tells nothing of a key.
        known = [hmac.compare_digest(_digest(key.strip()), each) for each in self._keys]
        if scheme.lower() != "bearer" or not any(known):
            said = "the API key is not known" if key else "no API key was sent"
            challenge = {"WWW-Authenticate": "Bearer"}
            raise HTTPFault(401, f"{said}; send Authorization: Bearer KEY", code="invalid_api_key", headers=challenge)

    async def chat(self, request: Request) -> Response:
        """Answer a chat request."""
        began = time.monotonic()
        try:
            body = await read_body(request, self._settings.body_bytes, self._settings.body_seconds)
            job = await _while_there(request, self._begin(body))
        except ClientDisconnect:
            self._count("", "", _GONE)
            return Response(status_code=_GONE)
        except Exception as error:
            fault = fault_of(error)
            self._count("", "", fault.status)
            return fault.response()
        try:
            return await self._answer(request, job, began)
        except ClientDisconnect:
            job.cancel()
            self._count_job(job, _GONE)
            return Response(status_code=_GONE)
        except Exception as error:
            job.cancel()
            fault = fault_of(error)
            self._count_job(job, fault.status)
            return fault.response()
        except asyncio.CancelledError:
            job.cancel()
            raise

    async def models(self) -> dict[str, Any]:
        """The adapters, and the bare backbone."""
        return {"object": "list", "data": [self._model(name) for name in self._names()]}

    async def model(self, name: str) -> dict[str, Any]:
        """One adapter."""
        if name not in self._names():
            raise HTTPFault(404, f"there is no model {name!r}", "model", "model_not_found")
        return self._model(name)

    async def health(self) -> Response:
        """Whether requests are taken."""
        status = self._service.engine.status
        return JSONResponse({"status": status}, 200 if status == "ok" else 503)

    async def show_metrics(self) -> Response:
        """Prometheus' text format."""
        return Response(self._metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    # ------------------------------------------------------------------ chat

    async def _begin(self, body: bytes) -> Job:
        def read() -> ChatRequest:
            try:
                return parse_request(decode_json(body))
            except RequestError as error:
                raise HTTPFault(400, str(error), error.field or None) from None

        try:
            return await self._service.read_and_begin(read, len(body))
        except RequestError as error:
            if error.field == "model":
                raise HTTPFault(404, str(error), "model", "model_not_found") from None
            raise

    async def _answer(self, request: Request, job: Job, began: float) -> Response:
        """The whole answer, or a stream that is sure to begin; a client that goes meanwhile ends it."""
        if job.request.stream:
            await _while_there(request, job.accepted())
            headers = {**_headers(job), "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            return EventStream(job, self._stream(job, began), headers)
        outcomes = await _while_there(request, job.outcomes())
        self._count_job(job, 200, began, outcomes)
        return JSONResponse(job.answer.whole(outcomes, job.usage(outcomes)), headers=_headers(job))

    async def _stream(self, job: Job, began: float) -> AsyncIterator[str]:
        """Server-sent events; when the client goes, the response's task is cancelled, and with it the job."""
        outcomes: list[Outcome] = []
        first, status = True, _GONE
        try:
            for index in range(job.request.n):
                yield _event(job.answer.begun(index))
            async with aclosing(job.events()) as events:
                async for event in events:
                    if isinstance(event, Outcome):
                        outcomes.append(event)
                        for chunk in job.answer.ended(event):
                            yield _event(chunk)
                        continue
                    if first:
                        self._metrics.first_seconds.labels(job.plan.decision.adapter).observe(time.monotonic() - began)
                        first = False
                    yield _event(job.answer.piece(event.index, event.text, event.tokens))
            if job.request.stream_options is not None and job.request.stream_options.include_usage:
                yield _event(job.answer.usage(job.usage(outcomes)))
            status = 200
            yield "data: [DONE]\n\n"
        except Exception as error:  # the status is sent already: the stream says it
            fault = fault_of(error)
            status = fault.status
            yield _event(fault.body)
        finally:
            job.cancel()
            self._count_job(job, status, began if status == 200 else None, outcomes)

    def _count(self, adapter: str, task: str, status: int) -> None:
        self._metrics.requests.labels(adapter, task, str(status)).inc()

    def _count_job(self, job: Job, status: int, began: float | None = None, outcomes: Sequence[Outcome] = ()) -> None:
        decision = job.plan.decision
        self._count(decision.adapter, decision.task, status)
        if began is not None:
            self._metrics.seconds.labels(decision.adapter).observe(time.monotonic() - began)
        for outcome in outcomes:
            if outcome.finding is not None:
                passed, repaired = str(outcome.finding.passed).lower(), str(outcome.repaired).lower()
                self._metrics.verdicts.labels(decision.adapter, passed, repaired).inc()

    # ------------------------------------------------------------------ models

    def _names(self) -> list[str]:
        return [*self._service.engine.library, BASE]

    def _model(self, name: str) -> dict[str, Any]:
        library = self._service.engine.library
        shape = {"id": name, "object": "model", "created": self._began, "owned_by": "qwen_lightning"}
        if name not in library:
            return shape
        return {**shape, "root": library[name].manifest.base_model, "tasks": library[name].manifest.tasks}


class EventStream(StreamingResponse):
    """Server-sent events of a job, which ends with the response: also where its first chunk was never asked for."""

    def __init__(self, job: Job, chunks: AsyncIterator[str], headers: dict[str, str]) -> None:
        super().__init__(chunks, media_type="text/event-stream", headers=headers)
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.cancel()


async def _while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of a work, which a client that goes meanwhile ends.

    Raises:
        ClientDisconnect: It went.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):  # its result was taken above
                await task


async def _gone(request: Request) -> None:
    """Returns when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _headers(job: Job) -> dict[str, str]:
    decision = job.plan.decision
    return {
        "X-Adapter": quote(decision.adapter),
        "X-Task": quote(decision.task),
        "X-Routing-Reason": quote(decision.reason[:_REASON], safe=" ,;:()'/"),
    }


def _event(value: dict[str, Any]) -> str:
    # Escaped to ASCII: some clients end a line at U+2028 or U+0085 too.
    return f"data: {json.dumps(value)}\n\n"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
