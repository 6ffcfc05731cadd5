"""The sink as one ASGI application: ingest, pages, metrics."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.routing import Route

from agent.errors import EdgeError
from agent.handout import Handout
from cloud_sink import metrics
from cloud_sink.ingest import Intake, answer_error, complete, ingest_routes
from cloud_sink.settings import Settings
from cloud_sink.store import Access, Alerts, PhotoStore, open_database
from cloud_sink.web import HERE, Live, NeedLogin, Pages, SecureHeaders, SmallForms, login_routes, page_routes


class Sink:
    """The parts of one sink, connected. Opening the database may raise ConfigError or Unreachable."""

    def __init__(self, settings: Settings, connect_line: str = "", install: Callable[[], str] = str) -> None:
        """`install` gives the line that installs the agent on a device; empty where the sink holds no release."""
        self.settings = settings
        self.engine = open_database(settings.database_url)
        self.alerts, self.access = Alerts(self.engine), Access(self.engine)
        self.photos = PhotoStore(settings.photos, settings.limits)
        self.live = Live()
        self.intake = Intake(self.alerts, self.access, self.photos, settings.limits)
        self.intake.on_alert = self._told
        self.intake.on_status = lambda mesh: self.live.tell("building", mesh=mesh)
        self.on_alert: Callable[[], None] = lambda: None
        self.pages = Pages(self.alerts, self.access, self.photos, self.live, connect_line, settings.notices, install)

    def close(self) -> None:
        """Close the database."""
        self.engine.dispose()

    def _told(self, seq: int, mesh: str, root: str) -> None:
        self.live.tell("incident", seq=seq, mesh=mesh, root=root)
        self.on_alert()


def create_app(sink: Sink) -> FastAPI:
    """The application."""
    app = FastAPI(title="edge-sink", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(SmallForms)
    app.add_middleware(SecureHeaders)
    app.add_exception_handler(EdgeError, answer_error)
    app.add_exception_handler(NeedLogin, _to_login)
    app.add_exception_handler(AnyHTTPException, _error_page(sink.pages))
    app.add_exception_handler(RequestValidationError, _error_page(sink.pages))
    app.include_router(ingest_routes(sink.intake, sink.access, sink.settings.limits))
    app.include_router(page_routes(sink.pages))
    app.include_router(login_routes(sink.pages))
    handout = Handout(sink.settings.handed_out)
    app.router.routes += [Route("/install", handout), Route("/install/{file}", handout)]
    app.mount("/static", _Assets(directory=HERE / "static"))

    @app.get("/v1/openapi.json", include_in_schema=False)
    async def schema() -> Response:
        return JSONResponse(complete(app.openapi()))

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        await asyncio.to_thread(sink.alerts.newest)
        return PlainTextResponse("ok\n")

    @app.get("/metrics", include_in_schema=False)
    async def prometheus(request: Request) -> Response:
        await asyncio.to_thread(_may_measure, sink.access, request)
        return Response(generate_latest(metrics.REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return app


class _Assets(StaticFiles):
    """Static files; their addresses change with their content."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response: Response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


def _may_measure(access: Access, request: Request) -> None:
    """Allow metrics to this machine and to requests with a key; raise HTTPException otherwise."""
    try:
        local = request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        local = False
    text = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not local and access.key(text) is None:
        raise HTTPException(403, "metrics are for requests from this machine or with a key")


async def _to_login(request: Request, _e: Exception) -> Response:
    if request.url.path == "/live" or "part" in request.query_params:
        return PlainTextResponse("log in first\n", 401)
    return RedirectResponse("/login", 303)


def _error_page(pages: Pages) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, e: Exception) -> Response:
        status, text = (
            (e.status_code, str(e.detail))
            if isinstance(e, AnyHTTPException)
            else (422, "the request has an invalid value")
        )
        headers = dict(e.headers or {}) if isinstance(e, AnyHTTPException) else {}
        if request.url.path.startswith("/v1/"):
            error = EdgeError(text, code="sink.http", hint="docs/sink.md lists the addresses")
            return JSONResponse(error.to_dict(), status, headers)
        response = pages.render(request, "error.html", status=status, code=status, text=text)
        response.headers.update(headers)
        return response

    return answer
