"""The page in a real Chromium: an alert appears by itself, with boxes, trace and no horizontal scrolling on a phone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
from playwright.async_api import Page, async_playwright, expect

from agent.model.alert import StatusSummary
from agent.model.health import Warning
from cloud_sink.web.routes import ON_CARD
from tests.sink.running import Building, RunningSink, encode, running_sink

CHROMIUM = "/usr/bin/chromium"


@asynccontextmanager
async def chromium(**options: object) -> AsyncIterator[tuple[Page, list[str]]]:
    """A page, and its errors and warnings."""
    complaints: list[str] = []
    async with async_playwright() as p:
        browser = await p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(ignore_https_errors=True, **options)  # type: ignore[arg-type]
        page = await context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))
        try:
            yield page, complaints
        finally:
            await browser.close()


async def send(sink: RunningSink, path: str, body: bytes) -> None:
    async with httpx.AsyncClient(verify=False, headers={"authorization": f"Bearer {sink.key}"}) as client:
        answer = await client.post(sink.url + path, content=body)
        assert answer.status_code == 200, answer.text


async def test_alert_appears_on_the_open_page_and_gains_a_camera(tmp_path: Path) -> None:
    building = Building()
    async with running_sink(tmp_path / "sink") as sink, chromium() as (page, complaints):
        await page.goto(sink.facts["login_url"])
        await expect(page.get_by_text("No building is connected yet")).to_be_visible()
        await expect(page.locator("#live[data-state=on]")).to_be_visible()
        await send(sink, "/v1/alerts", encode(building.alert(1, camera="porch")))
        card = page.locator("article.incident")
        await expect(card.get_by_text("Person at porch", exact=True)).to_be_visible()
        await expect(card.get_by_text("An unknown device joined the Wi-Fi")).to_be_visible()
        await expect(page.get_by_text("No building is connected yet")).to_have_count(0)
        await expect(card.locator(".trace").first.get_by_text("labels")).to_be_visible()
        await send(sink, "/v1/alerts", encode(building.alert(1, camera="garage")))
        await expect(card.get_by_text("Person at porch and garage")).to_be_visible()
        await expect(card).to_have_count(1)
        await expect(card.locator("figure img")).to_have_count(2)
        loaded = "() => [...document.querySelectorAll('figure img')].every(i => i.complete && i.naturalWidth === 640)"
        await page.wait_for_function(loaded)
        status = StatusSummary(
            mesh=building.mesh,
            node="ap",
            time="now",
            nodes=[{"name": "ap", "alive": "true"}, {"name": "gpu", "alive": "false"}],
            warnings=[Warning("node.away", "gpu", "the node gpu is away", "switch it on")],
        )
        await send(sink, "/v1/status", msgspec.msgpack.encode(status))
        await expect(page.get_by_text("1 of 2 nodes alive · 1 warning")).to_be_visible()
        assert complaints == []


async def test_boxes_are_on_the_photo_at_their_labels_positions(tmp_path: Path) -> None:
    building = Building()
    async with running_sink(tmp_path / "sink") as sink, chromium() as (page, _):
        labels = [{"name": "person", "score": 0.9, "box": [0.25, 0.5, 0.5, 0.25]}]
        await send(sink, "/v1/alerts", encode(building.alert(1, labels=labels)))
        await page.goto(sink.facts["login_url"])
        photo = await page.locator("figure img").bounding_box()
        box = await page.locator("rect.edge").bounding_box()
        assert photo
        assert box
        for found, wanted in (
            (box["x"], photo["x"] + photo["width"] * 0.25),
            (box["y"], photo["y"] + photo["height"] * 0.5),
            (box["width"], photo["width"] * 0.5),
            (box["height"], photo["height"] * 0.25),
        ):
            assert abs(found - wanted) < 5


async def test_page_is_readable_on_a_phone_and_without_javascript(tmp_path: Path) -> None:
    building = Building()
    async with (
        running_sink(tmp_path / "sink") as sink,
        chromium(viewport={"width": 390, "height": 844}, java_script_enabled=False) as (page, complaints),
    ):
        for camera in ("porch", "a-camera-with-quite-a-long-name-at-the-far-end-of-the-garden"):
            await send(sink, "/v1/alerts", encode(building.alert(1, camera=camera)))
        await page.goto(sink.facts["login_url"])
        await page.locator("footer summary").click()
        await expect(page.locator("footer .trace").first.get_by_text("166 ms").first).to_be_visible()
        for path in ("", "/buildings", "/account"):
            await page.goto(sink.url + path)
            box = await page.locator("main").bounding_box()
            assert box
            assert box["width"] <= 390
        await page.goto(sink.url)
        await page.locator("article h3 a").click()
        await expect(page.get_by_text("Alerts received by the sink")).to_be_visible()
        assert complaints == []


async def test_a_page_that_lost_its_stream_catches_up(tmp_path: Path) -> None:
    building = Building()
    async with chromium() as (page, _):
        async with running_sink(tmp_path / "sink") as sink:
            await page.goto(sink.facts["login_url"])
            await expect(page.locator("#live[data-state=on]")).to_be_visible()
            started = asyncio.get_running_loop().time()
            await sink.stop()
            assert asyncio.get_running_loop().time() - started < 5, "an open stream must not hold the end up"
        await expect(page.locator("#live[data-state=off]")).to_be_visible()
        async with running_sink(tmp_path / "sink", port=sink.port) as again:
            await send(again, "/v1/alerts", encode(building.alert(1)))
            await expect(page.locator("article.incident")).to_have_count(1, timeout=20_000)


async def test_card_of_many_alerts_shows_fewer_than_the_incidents_page(tmp_path: Path) -> None:
    building = Building()
    async with running_sink(tmp_path / "sink") as sink, chromium() as (page, complaints):
        for number in range(ON_CARD + 2):
            alert = building.alert(f"a{number}", root="r" * 26, camera=f"cam{number}", photo=b"")
            await send(sink, "/v1/alerts", encode(alert))
        await page.goto(sink.facts["login_url"])
        card = page.locator("article.incident")
        await expect(card).to_have_count(1)
        await expect(card.locator(".trace")).to_have_count(ON_CARD)
        await card.get_by_role("link", name="and 2 more alerts").click()
        await expect(page.locator("details.raw")).to_have_count(ON_CARD + 2)
        assert complaints == []
