"""Security headers, the session cookie, and the checks of a form's origin."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from fastapi import HTTPException, Request, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_sink.store import Visitor

COOKIE = "__Host-session"
"""The prefix makes browsers insist on Secure, Path=/ and no Domain (RFC 6265bis, 4.1.3.2)."""
MAX_FORM = 64 * 1024
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class SmallForms:
    """ASGI middleware: answers 413 to a form larger than MAX_FORM.

    A form is read before the login is checked, and its parser would store whole files. Requests of buildings have their
    own limit.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["path"].startswith("/v1/"):
            return await self._app(scope, receive, send)
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_FORM:
                raise HTTPException(413, f"a form has at most {MAX_FORM} bytes")
            return message

        return await self._app(scope, counted, send)


class SecureHeaders:
    """ASGI middleware: sets the headers above on every answer; forbids caching unless the answer allows it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        return await self._app(scope, receive, secured)


def set_cookie(response: Response, cookie: str, seconds: int) -> None:
    """Set the session cookie."""
    response.set_cookie(COOKIE, cookie, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax")


def clear_cookie(response: Response) -> None:
    """Delete the session cookie."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")


def check_origin(request: Request) -> None:
    """Refuse a form that another site's page sent. Browsers name the origin; a request without it is not a browser's."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site not in (None, "same-origin", "none"):
        raise HTTPException(403, "this form was sent from another site")
    if origin not in (None, "null") and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "this form was sent from another site")


def check_csrf(visitor: Visitor, token: str) -> None:
    """Refuse a form that does not carry the session's own token."""
    if not hmac.compare_digest(visitor.csrf.encode(), token.encode()):
        raise HTTPException(403, "the form is too old: load the page again")
