"""Login and logout: by a one-time link from the terminal, or by name and password."""

import math
from typing import Annotated

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from agent.door import holder
from agent.errors import ConfigError
from agent.rates import Rates
from cloud_sink.store import Visitor
from cloud_sink.store.access import SESSION_LIFE
from cloud_sink.web.routes import Pages
from cloud_sink.web.security import check_csrf, check_origin, clear_cookie, set_cookie

_Text = Annotated[str, Form(max_length=1024)]


def login_routes(pages: Pages) -> APIRouter:
    """The routes.

    Passwords: ten tries at once and then one in ten seconds, for each address (IPv6: each /64) and each name. Links
    contain 256 random bits; their limit only protects the database from load.
    """
    router = APIRouter(include_in_schema=False)
    rates, link_rates = Rates(0.1, 10), Rates(1, 60)
    LoggedIn = Annotated[Visitor, Depends(pages.visitor)]

    def limited(*names: str) -> float:
        return max(rates.take(name) for name in names)

    def enter(user: int) -> Response:
        response = RedirectResponse("/", 303)
        set_cookie(response, pages.access.open_session(user), SESSION_LIFE // 1000)
        return response

    @router.get("/login")
    def form(request: Request) -> Response:
        return pages.render(request, "login.html", error="")

    @router.get("/login/{secret}")
    def by_link(request: Request, secret: str) -> Response:
        if wait := link_rates.take(_address(request)):
            return _too_many(pages, request, wait)
        user = pages.access.redeem(secret)
        if user is None:
            text = "This link was already used or is too old. Run `edge-sink user login-link` on the sink to get a new link."
            return pages.render(request, "login.html", error=text, status=403)
        return enter(user)

    @router.post("/login", dependencies=[Depends(check_origin)])
    def by_password(request: Request, name: _Text, password: _Text) -> Response:
        if wait := limited(f"address {_address(request)}", f"name {name[:64]}"):
            return _too_many(pages, request, wait)
        user = pages.access.check_password(name, password)
        if user is None:
            return pages.render(request, "login.html", error="The name or password is wrong.", status=403)
        return enter(user)

    @router.post("/logout", dependencies=[Depends(check_origin)])
    def logout(visitor: LoggedIn, csrf: _Text) -> Response:
        check_csrf(visitor, csrf)
        pages.access.close_session(visitor.digest)
        response = RedirectResponse("/login", 303)
        clear_cookie(response)
        return response

    @router.get("/account")
    def account(request: Request, visitor: LoggedIn) -> Response:
        return pages.render(request, "account.html", visitor=visitor, error="", done=False)

    @router.post("/account", dependencies=[Depends(check_origin)])
    def set_password(request: Request, visitor: LoggedIn, csrf: _Text, new: _Text, old: _Text = "") -> Response:
        check_csrf(visitor, csrf)
        if limited(f"account {visitor.user}"):
            raise HTTPException(429, "too many attempts: wait a minute")
        if visitor.has_password and pages.access.check_password(visitor.name, old) is None:
            return pages.render(
                request, "account.html", visitor=visitor, error="The old password is wrong.", done=False, status=403
            )
        try:
            pages.access.set_password(visitor.name, new, keep=visitor.digest)
        except ConfigError as e:
            return pages.render(
                request, "account.html", visitor=visitor, error=e.message.capitalize() + ".", done=False, status=422
            )
        changed = pages.visitor(request)
        return pages.render(request, "account.html", visitor=changed, error="", done=True)

    return router


def _address(request: Request) -> str:
    """The address that the limits count; for IPv6 the /64 network, which belongs to one host."""
    address = request.client.host if request.client else ""
    try:
        return holder(address)
    except ValueError:
        return address


def _too_many(pages: Pages, request: Request, seconds: float) -> Response:
    wait = math.ceil(seconds)
    response = pages.render(request, "login.html", error=f"Too many attempts. Wait {wait} seconds.", status=429)
    response.headers["retry-after"] = str(wait)
    return response
