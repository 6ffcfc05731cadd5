"""The pages: alert history, one incident, buildings, and the live stream. All but /healthz need a login."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.templating import Jinja2Templates
from sse_starlette import EventSourceResponse

from cloud_sink import incidents as views
from cloud_sink.clock import now_ms
from cloud_sink.store import Access, Alerts, PhotoStore, Visitor
from cloud_sink.store.alerts import MOST
from cloud_sink.web.live import Live
from cloud_sink.web.security import COOKIE

HERE = Path(__file__).parent
PAGE = 20
"""Incidents on one page."""
ON_CARD = 24
"""Most alerts of an incident on its card; its own page has `MOST`. Further alerts are counted only."""


class NeedLogin(Exception):
    """The browser has no valid session."""


class Pages:
    """The objects that all pages need."""

    def __init__(
        self,
        alerts: Alerts,
        access: Access,
        photos: PhotoStore,
        live: Live,
        connect_line: str,
        notices: Sequence[str] = (),
        install: Callable[[], str] = str,
    ) -> None:
        self.alerts, self.access, self.photos, self.live = alerts, access, photos, live
        self.connect_line, self.notices, self.install = connect_line, notices, install
        self.templates = Jinja2Templates(HERE / "templates")
        self.templates.env.globals["asset"] = asset
        self.templates.env.filters.update(ms=views.milliseconds, bytes=views.size)

    def visitor(self, request: Request) -> Visitor:
        """The logged-in visitor; raises NeedLogin."""
        visitor = self.access.visitor(request.cookies.get(COOKIE, ""))
        if visitor is None:
            raise NeedLogin
        return visitor

    def render(self, request: Request, name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """Render the page of the template `name`."""
        return self.templates.TemplateResponse(request, name, values, status_code=status)

    def incidents(self, keys: list[tuple[str, str]], most: int) -> list[views.Incident]:
        """Incidents in the order of their keys, with up to `most` alerts each."""
        names = {b.mesh: b.name for b in self.alerts.buildings()}
        if len(names) == 1:
            names.clear()  # the name of the only building would be noise
        found = self.alerts.of_incidents(keys, most)
        return [
            views.incident_of(f.alerts, names.get(m, ""), f.total, f.size) for (m, _), f in found.items() if f.total
        ]


def asset(name: str) -> str:
    """A static file's address; it changes with the file, so that browsers may cache it without limit."""
    return f"/static/{name}?v={hashlib.sha256((HERE / 'static' / name).read_bytes()).hexdigest()[:12]}"


def page_routes(pages: Pages) -> APIRouter:
    """The routes."""
    router = APIRouter(include_in_schema=False)
    LoggedIn = Annotated[Visitor, Depends(pages.visitor)]

    @router.get("/")
    def history(
        request: Request,
        visitor: LoggedIn,
        before: Annotated[int | None, Query(ge=1)] = None,
        building: Annotated[str, Query(max_length=64)] = "",
        camera: Annotated[str, Query(max_length=128)] = "",
    ) -> HTMLResponse:
        found = pages.alerts.incidents(before=before, mesh=building, camera=camera, limit=PAGE + 1)
        cards = pages.incidents([(m, r) for m, r, _ in found[:PAGE]], ON_CARD)
        oldest = min((a["seq"] for a in cards[-1].alerts), default=0) if len(found) > PAGE else 0
        now = now_ms()
        return pages.render(
            request,
            "history.html",
            visitor=visitor,
            days=_by_day(cards),
            older=oldest,
            before=before,
            chosen={"building": building, "camera": camera},
            cameras=sorted({c for m, c in pages.alerts.cameras() if c and building in ("", m)}),
            buildings=[views.health_of(b, now) for b in pages.alerts.buildings()],
            newest=pages.alerts.newest(),
            connect_line=pages.connect_line,
        )

    @router.get("/incidents/{mesh}/{root}")
    def incident(request: Request, visitor: LoggedIn, mesh: str, root: str, part: str = "") -> HTMLResponse:
        card = part == "card"
        cards = pages.incidents([(mesh, root)], ON_CARD if card else MOST)
        if not cards:
            raise HTTPException(404, "this incident does not exist")
        template = "_incident.html" if card else "incident.html"
        return pages.render(request, template, visitor=visitor, incident=cards[0])

    @router.get("/buildings")
    def buildings(request: Request, visitor: LoggedIn, part: str = "") -> HTMLResponse:
        now = now_ms()
        found = [views.health_of(b, now) for b in pages.alerts.buildings()]
        template = "_health.html" if part == "strip" else "buildings.html"
        return pages.render(
            request,
            template,
            visitor=visitor,
            buildings=found,
            notices=pages.notices,
            connect_line=pages.connect_line,
            install_line=pages.install(),
        )

    @router.get("/photos/{photo_id}.jpg")
    def photo(visitor: LoggedIn, photo_id: int) -> Response:
        found = pages.alerts.photo(photo_id) if 0 < photo_id < 2**62 else None
        path = pages.photos.path(found.digest) if found else None
        if path is None or not path.exists():
            raise HTTPException(404, "this photo does not exist")
        return FileResponse(
            path, media_type="image/jpeg", headers={"cache-control": "private, max-age=31536000, immutable"}
        )

    @router.get("/live")
    async def live(request: Request) -> Response:
        await asyncio.to_thread(pages.visitor, request)
        if pages.live.full:
            raise HTTPException(503, "too many pages are open")
        newest = await asyncio.to_thread(pages.alerts.newest)
        return EventSourceResponse(pages.live.stream(newest), ping=20)

    return router


def _by_day(cards: list[views.Incident]) -> list[tuple[str, str, list[views.Incident]]]:
    days: dict[str, list[views.Incident]] = {}
    for card in cards:
        days.setdefault(card.day, []).append(card)
    return [(day, found[0].day_name, found) for day, found in days.items()]
