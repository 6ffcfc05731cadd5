"""The notifier alone: a faulty notice, photo or database does not stop other notices."""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from cloud_sink.incidents import Incident
from cloud_sink.notify import Notices, Notifier, notifier
from cloud_sink.notify.channel import Books
from cloud_sink.notify.queue import Pending
from cloud_sink.settings import Limits
from cloud_sink.store import Alerts, PhotoStore, open_database
from tests.sink.notifying import running
from tests.sink.running import Building, jpeg
from tests.support import eventually


class Screen:
    """A channel in memory; it fails for incidents of the cameras in `fails`."""

    def __init__(self, name: str, *fails: str) -> None:
        self.name, self.fails = name, fails
        self.shown: list[str] = []
        self.pictures: list[bytes] = []

    async def show(self, pending: Pending, incident: Incident, books: Books) -> str:
        """See Channel."""
        if incident.alerts[0]["camera"] in self.fails:
            raise RuntimeError("no")
        self.pictures += [await books.picture(p) for p in incident.pictures]
        self.shown.append(incident.alerts[0]["camera"])
        return "sent"

    async def close(self) -> None:
        """See Channel."""


class Desk:
    """A database and photos with a notifier's channels; alerts are stored without the web."""

    def __init__(self, folder: Path, *channels: Screen) -> None:
        engine = open_database(f"sqlite:///{folder / 'sink.db'}")
        self.alerts, self.notices = Alerts(engine), Notices(engine)
        self.photos = PhotoStore(folder / "photos", Limits())
        self.channels, self.building = channels, Building()
        self.notifier = Notifier(channels, self.notices, self.alerts, self.photos)

    def add(self, camera: str, *, photo: bytes = b"", root: str = "", n: int | str = 0) -> None:
        alert = self.building.alert(n or camera, camera=camera, photo=photo, root=root)
        stored = [self.photos.put(p.name, p.cid, p.content) for p in alert.photos]
        names = [c.name for c in self.channels]
        assert self.alerts.add(alert, stored, size=1, via="https", name="ap", channels=names)

    def running(self) -> AbstractAsyncContextManager[None]:
        return running(self.notifier)


async def test_a_notice_that_cannot_be_shown_waits_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Screen("bad", "porch"), Screen("good")
    desk = Desk(tmp_path, bad, good)
    desk.add("porch")
    desk.add("garage")
    async with desk.running():
        await eventually(lambda: bad.shown == ["garage"] and good.shown == ["porch", "garage"])
        await eventually(lambda: desk.notices.waiting() == 1)
    assert [r.message for r in caplog.records if r.exc_info] == [m for m in caplog.messages if "cannot show" in m]
    assert len([r for r in caplog.records if r.exc_info]) == 1


@pytest.mark.parametrize("damage", ["gone", "damaged"])
async def test_message_leaves_out_a_damaged_photo(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    screen = Screen("screen")
    desk = Desk(tmp_path, screen)
    desk.add("porch", photo=jpeg())
    for digest in desk.alerts.digests():
        path = desk.photos.path(digest)
        path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:300])
    with caplog.at_level(logging.WARNING):
        async with desk.running():
            await eventually(lambda: screen.shown == ["porch"])
    assert screen.pictures == [b""]
    assert "showing the incident without it" in caplog.text


async def test_a_message_is_not_sent_again_while_the_database_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[str] = []
    monkeypatch.setattr(notifier, "DATABASE_PAUSE", 0.01)
    screen = Screen("screen")
    desk = Desk(tmp_path, screen)
    shown = desk.notices.shown

    def full(notice: int, message: str, seq: int, pause: float) -> None:
        tries.append(message)
        if len(tries) < 5:
            raise OperationalError("UPDATE", {}, Exception("database or disk is full"))
        shown(notice, message, seq, pause)

    monkeypatch.setattr(desk.notices, "shown", full)
    desk.add("porch")
    async with desk.running():
        await eventually(lambda: desk.notices.waiting() == 0)
    assert (screen.shown, len(tries)) == (["porch"], 5)
    assert caplog.text.count("disk is full") == 1


async def test_an_error_of_the_queue_ends_no_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "DATABASE_PAUSE", 0.01)
    screen = Screen("screen")
    desk = Desk(tmp_path, screen)
    answers = iter([ValueError("an invalid row")])
    following = desk.notices.next

    def odd(channel: str) -> Pending | None:
        if error := next(answers, None):
            raise error
        return following(channel)

    monkeypatch.setattr(desk.notices, "next", odd)
    desk.add("porch")
    async with desk.running():
        await eventually(lambda: screen.shown == ["porch"])


async def test_an_incident_of_very_many_alerts_is_shown_once(tmp_path: Path) -> None:
    screen = Screen("screen")
    desk = Desk(tmp_path, screen)
    alerts = desk.alerts.incident
    for n in range(3):
        desk.add("porch", root="one", n=n)
    desk.alerts.incident = lambda mesh, root: alerts(mesh, root)[:2]  # type: ignore[method-assign]
    async with desk.running():
        await eventually(lambda: screen.shown == ["porch"])
        await eventually(lambda: desk.notices.next("screen") is None and desk.notices.waiting() == 0)
