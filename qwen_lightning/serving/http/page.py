"""The page to try a server with: one document that fetches nothing but the server's own answers."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from fastapi.responses import HTMLResponse

#: One script, in this order.
_SCRIPTS = ("wire.js", "code.js", "examples.js", "answer.js", "form.js")


async def page() -> HTMLResponse:
    """The page. Its policy lets run what it holds and nothing else, and lets no text become HTML."""
    document, policy = _document()
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return HTMLResponse(document, headers=headers)


@cache
def _document() -> tuple[str, str]:
    """The document, and its policy."""
    folder = files("qwen_lightning.serving.http") / "web"
    style = (folder / "style.css").read_text("utf-8")
    script = "\n".join((folder / name).read_text("utf-8") for name in _SCRIPTS)
    document = (folder / "page.html").read_text("utf-8").replace("{{style}}", style).replace("{{script}}", script)
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return document, policy


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
