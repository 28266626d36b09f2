"""Faults as HTTP answers in OpenAI's shape."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from fastapi.responses import JSONResponse

from qwen_lightning.errors import ExecutionError, QueryError, RequestError, WorkerFaultError
from qwen_lightning.serving.generation import (
    AdapterUnavailableError,
    EngineClosedError,
    EngineFailedError,
    GenerationError,
    QueueFullError,
    UpstreamError,
    UpstreamUnavailableError,
)
from qwen_lightning.serving.service import PromptTooLongError

RETRY_AFTER = 1  # seconds
log = logging.getLogger(__name__)


class HTTPFault(Exception):
    """A request that gets an error for an answer.

    Args:
        status: HTTP's.
        message: What is wrong and what to do.
        param: The request's field at fault.
        code: OpenAI's code, where it has one.
        headers: Further headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, headers

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        kinds = {429: "rate_limit_error", 404: "not_found_error", 401: "authentication_error"}
        kind = "server_error" if self.status >= 500 else kinds.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.body, self.status, self.headers)


def fault_of(error: Exception) -> HTTPFault:
    """The answer to an error; of one that is not expected, only its type and place are logged, for privacy."""
    later = {"Retry-After": str(RETRY_AFTER)}
    match error:
        case HTTPFault():
            return error
        case PromptTooLongError():
            return HTTPFault(400, str(error), error.field, "context_length_exceeded")
        case RequestError():
            return HTTPFault(400, str(error), error.field or None)
        case QueryError():
            return HTTPFault(400, str(error), "query", "query_failed")
        case WorkerFaultError():
            log.error("a request failed: %s", str(error).splitlines()[0])
            return HTTPFault(500, "the server failed at this request (a fault in its query worker)")
        case ExecutionError():
            return HTTPFault(503, str(error).splitlines()[0], code="database_unavailable", headers=later)
        case QueueFullError():
            return HTTPFault(429, str(error), code="rate_limit_exceeded", headers=later)
        case EngineFailedError():
            return HTTPFault(503, str(error), code="model_failed", headers=later)
        case EngineClosedError():
            return HTTPFault(503, str(error), code="shutting_down", headers=later)
        case AdapterUnavailableError():
            return HTTPFault(503, str(error), code="adapter_unavailable", headers=later)
        case UpstreamUnavailableError():
            return HTTPFault(503, str(error), code="upstream_unavailable", headers=later)
        case UpstreamError():
            return HTTPFault(502, str(error), code="upstream_error")
        case GenerationError():
            return HTTPFault(500, str(error))
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    log.error("a request failed: %s at %s", type(error).__name__, " < ".join(reversed(places)))
    return HTTPFault(500, f"the server failed at this request ({type(error).__name__})")
