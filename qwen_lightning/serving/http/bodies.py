"""Bodies of requests: read within limits, and decoded."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from fastapi import Request

from qwen_lightning.errors import RequestError
from qwen_lightning.serving.http.errors import HTTPFault

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


async def read_body(request: Request, most: int, seconds: float) -> bytes:
    """The body of a request.

    Args:
        request: The request.
        most: Bytes that are read.
        seconds: Time for all of them to arrive.

    Raises:
        HTTPFault: The body is said to be no JSON, or is too long, or too late.
        ClientDisconnect: The client went.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        # A page of another site may send other kinds without being asked whether it may.
        said = f"is {kind[:80]!r}" if kind else "is missing"
        raise HTTPFault(415, f"Content-Type {said}; send Content-Type: application/json", code="unsupported_media_type")
    fault = HTTPFault(413, f"the body is longer than the {most} bytes that this server reads", code="body_too_long")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > most:
        raise fault
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise fault
    except TimeoutError:
        raise HTTPFault(408, f"the body did not arrive in {seconds:g} s") from None
    return bytes(body)


def decode_json(body: bytes) -> Any:
    """The value that a body holds; one of a megabyte takes a while.

    Raises:
        RequestError: It is no JSON.
    """
    try:
        value = json.loads(body.decode("utf-8-sig"))
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError:
        raise RequestError("", "the body holds half of a surrogate pair, which is no character") from None
    except UnicodeDecodeError as error:
        raise RequestError("", f"the body is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise RequestError(
            "", f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except (RecursionError, ValueError):  # ValueError: an integer with more digits than Python reads
        raise RequestError("", "the body is no chat request: nested too deeply, or a number too long") from None
