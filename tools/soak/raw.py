"""Clients that no library would be: they send what is no request, or go before their answer is there."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

from tools.soak.server import Target

#: Bodies that are no requests, and the status that each must get.
MALFORMED: tuple[tuple[bytes, int], ...] = (
    (b"", 400),
    (b'{"messages": [', 400),
    (b'{"messages": "\xff"}', 400),
    (b'{"model": "auto", "messages": []}', 400),
    (b'{"model": "auto", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 0}', 400),
    (b'{"model": "auto", "messages": [{"role": "user", "content": "hi"}], "temperature": "hot"}', 400),
    (b'{"model": "no-such-model", "messages": [{"role": "user", "content": "hi"}]}', 404),
    (b'{"model": "auto", "messages": [{"role": "user", "content": "' + b"x" * (1 << 20) + b'"}]}', 413),
)


async def send_malformed(target: Target, body: bytes) -> tuple[int, bool]:
    """Send a body; the status of its answer, and whether that says when to come again."""
    reader, writer = await _send(target, body)
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    finally:
        writer.close()
    return int(head.split(" ", 2)[1]), "\r\nretry-after:" in head.lower()


async def vanish(target: Target, body: dict[str, Any], pieces: int, seconds: float) -> int:
    """Send a request and cut the connection, as a client that is killed does.

    Args:
        target: The server.
        body: The request.
        pieces: Chunks to read of a stream before; 0 asks for no stream.
        seconds: How long to wait for the answer that is not streamed.

    Returns:
        The status that came before; 0 where none did.
    """
    reader, writer = await _send(target, json.dumps({**body, "stream": pieces > 0}).encode())
    try:
        if not pieces:
            await asyncio.sleep(seconds)
            return 0
        status = int((await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1])
        for _ in range(pieces if status == 200 else 0):
            if not await reader.readline():
                break
        return status
    finally:
        writer.transport.abort()


async def _send(target: Target, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    split = urlsplit(target.url)
    reader, writer = await asyncio.open_connection(split.hostname, split.port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {split.netloc}\r\nAuthorization: Bearer {target.key}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    return reader, writer
