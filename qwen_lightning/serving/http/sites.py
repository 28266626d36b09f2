"""What a browser sends for another site's page, told by Host and Origin."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import Request

from qwen_lightning.serving.http.errors import HTTPFault

_LOCAL = ("localhost", "ip6-localhost", "ip6-loopback", "0.0.0.0")  # as browsers and Debian's hosts file have it
_ADVICE = "a server without keys serves the pages and programs of its own machine; set keys with --api-key-env"


def refuse_other_sites(request: Request, listened_on: str) -> None:
    """Refuse what a browser sends for a page of another site to a server on a loopback address.

    A page reaches such a server by its address (then Origin names the page's site), or by a name of the page's own that
    it makes stand for the address, DNS rebinding (then Host is that name). Ports need not be the server's: `ssh -L`
    takes another.

    Args:
        request: The request.
        listened_on: The name or address that the server was told to listen on.

    Raises:
        HTTPFault: It is of another site.
    """
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    name = _name(host)
    if not is_loopback(name) and name != _name(listened_on):
        raise HTTPFault(403, f"Host {host[:80]!r} is not this machine; {_ADVICE}", code="foreign_host")
    if origin is not None and _netloc(origin) != host.lower().removesuffix(":80"):
        raise HTTPFault(403, f"Origin {origin[:80]!r} is another site's; {_ADVICE}", code="foreign_origin")


def is_loopback(name: str) -> bool:
    """Whether a host's name or address is this machine's own for sure."""
    name = name.strip("[]").lower()
    if name in _LOCAL or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """A host without its port."""
    if host.count(":") > 1 and not host.startswith("["):
        return host.lower()  # an IPv6 address as it is given to listen on
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower().removesuffix(":80")
    except ValueError:
        return ""
