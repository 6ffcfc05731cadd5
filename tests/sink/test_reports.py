"""Notices of warnings on their way: from a summary to a real HTTP service and to Slack's copy, in order and once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from agent.model.alert import StatusSummary
from agent.model.health import Warning
from cloud_sink.app import Sink
from cloud_sink.clock import now_ms
from cloud_sink.notify import Notices, Notifier, Troubles, Watch, notifier, watch
from cloud_sink.notify.others import read_others
from cloud_sink.notify.slack import Slack
from cloud_sink.notify.troubles import ASKED_EVERY, LASTING, MINUTE, USUAL
from cloud_sink.settings import Settings
from cloud_sink.status import lines_of, status_of
from cloud_sink.store import open_database
from cloud_sink.store.models import Notice, Report
from tests.sink.notifying import running
from tests.sink.running import Building, Caller, calling_sink
from tests.sink.slack_server import CHANNEL, TOKEN, slack_server
from tests.support import eventually

GONE = Warning("camera.gone", "front", "the camera front has been gone", "check it", "error")


class Receiver:
    """An HTTP service that is busy for the first `busy` messages."""

    def __init__(self, busy: int = 0) -> None:
        self.busy, self.port = busy, 0
        self.got: list[dict[str, str]] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Receiver]:
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(next(ln for ln in head.lower().split(b"\r\n") if ln.startswith(b"content-length")).split()[1])
        body = json.loads(await reader.readexactly(length))
        self.busy -= 1
        if self.busy < 0:
            self.got.append(body)
        status = b"200 OK" if self.busy < 0 else b"503 Busy"
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    @property
    def titles(self) -> list[str]:
        return [m["title"] for m in self.got]


class Desk:
    """A sink without its web server: summaries go through the intake, time is given to the watch."""

    def __init__(self, folder: Path) -> None:
        self.sink = Sink(Settings(data=folder))
        self.building, self.now = Building(), now_ms() - 60 * MINUTE
        key = self.sink.access.key(self.sink.access.create_key("Home"))
        assert key is not None
        self.key = key

    def hears(self, *warnings: Warning, minutes: int = 0) -> None:
        """A summary comes and stays for so long."""
        summary = StatusSummary(mesh=self.building.mesh, node="ap", time="1", warnings=list(warnings))
        self.sink.intake.status(self.key, msgspec.msgpack.encode(summary))
        for _ in range(2):  # found, then told
            self.troubles.look(self.now)
            self.now += minutes * MINUTE
            self.troubles.look(self.now)

    def start(self, *channels: object) -> Notifier:
        """As the sink does at its start."""
        names = [c.name for c in channels]  # type: ignore[attr-defined]
        self.troubles = Troubles(self.sink.engine, USUAL[:3], names, "https://sink.example", self.now)
        return Notifier(channels, Notices(self.sink.engine), self.sink.alerts, self.sink.photos)  # type: ignore[arg-type]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.sink.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "BACKOFF", notifier.Backoff((0.02,)))


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")
async def test_a_camera_that_goes_and_comes_gives_two_messages(desk: Desk, tmp_path: Path) -> None:
    async with Receiver(busy=2).running() as service:
        (tmp_path / "urls").write_text(f"json://127.0.0.1:{service.port}/\n")
        notifier = desk.start(*read_others(tmp_path / "urls"))
        desk.hears(minutes=1)
        desk.hears(GONE, minutes=10)
        async with running(notifier):
            await eventually(lambda: Notices(desk.sink.engine).waiting() == 0)
        desk.hears(minutes=LASTING // MINUTE)
        async with running(desk.start(*read_others(tmp_path / "urls"))):  # a restart sends neither again
            await eventually(lambda: Notices(desk.sink.engine).waiting() == 0)
    assert len(service.got) == 2
    assert "camera ap/front is gone since" in service.titles[0]
    assert "camera ap/front is back after" in service.titles[1]
    assert service.got[0]["message"] == f"See https://sink.example/buildings#b-{desk.building.mesh}"


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")
async def test_the_end_of_a_trouble_never_overtakes_its_beginning(desk: Desk, tmp_path: Path) -> None:
    async with Receiver(busy=3).running() as service:
        (tmp_path / "urls").write_text(f"json://127.0.0.1:{service.port}/\n")
        notifier = desk.start(*read_others(tmp_path / "urls"))
        desk.hears(minutes=1)
        desk.hears(GONE, minutes=10)
        desk.hears(minutes=LASTING // MINUTE)
        assert Notices(desk.sink.engine).waiting() == 2
        async with running(notifier):
            await eventually(lambda: len(service.got) == 2)
    assert [t.split(" is ")[1].split()[0] for t in service.titles] == ["gone", "back"]


@pytest.mark.parametrize("fault", ["cut-before", "cut-after", "500"])
async def test_a_report_whose_answer_was_lost_is_posted_once(desk: Desk, fault: str) -> None:
    async with slack_server() as slack:
        odd = Warning("camera.gone", "<!channel> & co", "gone", "check it")
        notifier = desk.start(Slack(TOKEN, CHANNEL, api=slack.api))
        desk.hears(minutes=1)
        desk.hears(odd, minutes=10)
        slack.broken["chat.postMessage"] = fault
        async with running(notifier):
            await eventually(lambda: Notices(desk.sink.engine).waiting() == 0)
        (message,) = slack.messages.values()
        assert "camera ap/&lt;!channel&gt; &amp; co is gone since" in str(message["blocks"])


async def test_the_watch_wakes_the_notifier_after_a_report(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "EVERY", 0.01)
    times = iter([now_ms()] * 4)
    last = now_ms() + 32 * MINUTE
    monkeypatch.setattr(watch, "now_ms", lambda: next(times, last))
    monkeypatch.setattr(watch, "_offset", lambda: 0.0)
    desk.start()
    desk.hears()
    woken = asyncio.Event()
    troubles = Troubles(desk.sink.engine, USUAL, ["slack:C"], "")
    task = asyncio.create_task(Watch(troubles, woken.set).run())
    await asyncio.wait_for(woken.wait(), 10)
    task.cancel()
    assert Notices(desk.sink.engine).waiting() == 1


async def test_a_clock_that_is_set_makes_no_building_silent(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "EVERY", 0.0)
    checked: list[int] = []
    monkeypatch.setattr(watch, "now_ms", lambda: now_ms() + len(checked) * 1440 * MINUTE)
    desk.start()
    desk.hears()
    troubles = Troubles(desk.sink.engine, USUAL, ["slack:C"], "")
    look = troubles.look
    monkeypatch.setattr(troubles, "look", lambda now: checked.append(look(now)))
    task = asyncio.create_task(Watch(troubles, lambda: None).run())
    await eventually(lambda: len(checked) >= 3)
    task.cancel()
    assert set(checked) == {0}


def test_reports_are_pruned_by_age_and_not_with_alerts(desk: Desk) -> None:
    desk.start(type("One", (), {"name": "apprise:x"}))
    desk.hears(minutes=1)
    desk.hears(GONE, minutes=10)
    for n in range(2):
        alert = desk.building.alert(n, photo=b"")
        desk.sink.alerts.add(alert, [], size=1, via="https", name="Home", channels=["apprise:x"])
    assert desk.sink.alerts.prune(2**62) == (2, [])
    assert Notices(desk.sink.engine).waiting() == 1
    desk.now += 40 * 1440 * MINUTE
    desk.hears(minutes=20)
    with desk.sink.alerts.read() as s:
        assert [r.id for r in s.query(Report)] == [n.report for n in s.query(Notice)]
        assert "is back after 40 days" in s.query(Report).one().title


def test_the_page_and_the_status_say_whether_notices_are_on(tmp_path: Path) -> None:
    (tmp_path / "urls").write_text("json://127.0.0.1:1/\n")
    with calling_sink(tmp_path / "sink", "--apprise-file", str(tmp_path / "urls"), "--notices", "on,disk.full") as on:
        on.http.get("/login/" + on.facts["login_url"].rsplit("/", 1)[1])
        assert f"Notices of warnings are on: {', '.join(USUAL)}, disk.full" in on.http.get("/buildings").text
        nodes = [{"name": "ap", "alive": "yes"}]
        status = StatusSummary(mesh="mesh-test", node="ap", time="1", nodes=nodes, warnings=[GONE])
        assert on.post("/v1/status", msgspec.msgpack.encode(status)).json() == {"stored": True, "every": ASKED_EVERY}
        found = json.loads(on.cli("status", "--json"))
    assert (found["notices"]["codes"], found["notices"]["channels"]) == ([*USUAL, "disk.full"], ["apprise"])
    assert [(b["name"], b["level"], b["warnings"]) for b in found["buildings"]] == [("Home", "error", ["camera.gone"])]
    assert lines_of(found)[-1] == "building  Home: error, 1 of 1 nodes alive, heard just now, camera.gone"


def test_notices_that_are_off_are_shown_as_off(sink: Caller) -> None:
    engine = open_database(f"sqlite:///{sink.data / 'sink.db'}")
    status = status_of(engine)
    engine.dispose()
    assert (status["notices"]["on"], status["notices"]["codes"]) == (False, [])
    assert "notices   of alerts only; `edge-sink serve --notices on` adds warnings" in lines_of(status)
    sink.http.get("/login/" + sink.cli("user", "login-link").strip().rsplit("/", 1)[1])
    assert "Notices of warnings are off" in sink.http.get("/buildings").text
