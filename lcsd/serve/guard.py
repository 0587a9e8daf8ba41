"""Who may ask: the names of this server, where a request comes from, and the token."""

import hmac
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lcsd.errors import BadInputError

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

COOKIE = "lcsd_token"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every answer; a result page has a policy of its own."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name_of(host: str) -> str:
    """Return the name in a ``Host`` header, without its port and the brackets of IPv6; empty if it is malformed."""
    text = host.strip().lower()
    if text.startswith("["):
        name, closed, port = text[1:].partition("]")
        port = port.removeprefix(":") if port.startswith(":") else port and "x"
        return name if closed and (not port or port.isdecimal()) else ""
    name, _, port = text.partition(":")
    return name if not port or port.isdecimal() else ""


@dataclass(frozen=True)
class Guard:
    """The rules of a server.

    ``names`` are the hosts under which it may be asked. A page of another site cannot lead here by a name of its own
    that suddenly means this machine (DNS rebinding). ``token`` is None where only this machine can ask.
    """

    names: frozenset[str]
    token: str | None = None

    @classmethod
    def of(cls, host: str, more: Sequence[str] = (), *, token: str | None = None) -> "Guard":
        """Return the rules for a server that listens at ``host``; ``more`` names hosts under which it is known."""
        given = {name.lower() for name in more}
        if is_loopback(host):
            return cls(frozenset(LOCAL_NAMES | {host} | given), token)
        return cls(frozenset(LOCAL_NAMES | {host, socket.gethostname().lower()} | given), token)

    def _known(self, name: str) -> bool:
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        # An address cannot be rebound; without a token only those of this machine are known.
        return self.token is not None

    def check(self, headers: Mapping[str, str], *, token: str | None, public: bool) -> None:
        """Raise ``BadInputError`` unless a request may be answered.

        ``token`` is what the request has as its token; ``public`` says that it needs none. The codes are ``bad_host``,
        ``bad_origin`` and ``no_token``.
        """
        host = headers.get("Host", "")
        if not self._known(_name_of(host)):
            raise BadInputError(
                "this server has another name",
                code="bad_host",
                field="Host",
                expected=", ".join(sorted(self.names)),
                found=host[:80],
                remedy="start it with --allow-host NAME if this name is right",
            )
        origin = headers.get("Origin")
        if origin is not None and origin.lower() not in {f"{scheme}://{host.lower()}" for scheme in ("http", "https")}:
            raise _other_site("Origin", origin)
        if headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"} and not public:
            raise _other_site("Sec-Fetch-Site", headers["Sec-Fetch-Site"])
        if self.token is None or public:
            return
        if token is None or not hmac.compare_digest(token.encode(), self.token.encode()):
            raise BadInputError(
                "the token is missing or wrong",
                code="no_token",
                field="Authorization",
                expected="Bearer TOKEN",
                remedy="open the address that lcsd serve printed",
            )


def _other_site(field: str, found: str) -> BadInputError:
    return BadInputError(
        "the request comes from a page of another site",
        code="bad_origin",
        field=field,
        expected="this page",
        found=found[:80],
        remedy="open this server's own page",
    )
