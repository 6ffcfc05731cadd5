"""Warnings become notices: one when something begins, one when it ends. Time is given; the database is real."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from agent.errors import ConfigError
from agent.model.alert import StatusSummary
from agent.model.health import Warning
from cloud_sink.notify import Notices, Troubles, parse_notices
from cloud_sink.notify.troubles import GATHER, LASTING, MINUTE, MOST, MOST_ROWS, USUAL
from cloud_sink.notify.watch import PER_HOUR
from cloud_sink.store import Access, Alerts, open_database
from cloud_sink.store.models import Building, Report, Trouble

PAGE = "https://sink.example"
START = 1_800_000_000_000
ON = USUAL


class Sink:
    """A sink's database and clock without its web server: buildings report, and the watch looks."""

    def __init__(self, engine: Engine, codes: tuple[str, ...] = ON) -> None:
        self.engine, self.codes, self.now = engine, codes, START
        self.alerts, self.access = Alerts(engine), Access(engine)
        self.keys: dict[str, str] = {}
        self.restart()

    def restart(self) -> None:
        """As after a crash: a new object on the same database."""
        self.troubles = Troubles(self.engine, self.codes, ["slack:C", "apprise:x"], PAGE, self.now)

    def hears(self, *warnings: Warning, mesh: str = "m1", node: str = "ap", every: int = 900, **alive: str) -> None:
        """A summary comes, and the watch looks."""
        if mesh not in self.keys:
            self.keys[mesh] = self.access.create_key(f"Home {mesh}").split("_")[1]
            self.access.bind_key(self.keys[mesh], mesh, "")
        nodes = [{"name": n, "alive": a} for n, a in alive.items()]
        summary = StatusSummary(mesh=mesh, node=node, time="1", nodes=nodes, warnings=list(warnings), every=every)
        self.alerts.add_status(summary, f"Home {mesh}")
        with self.alerts.write() as s:
            at = {"received": self.now, "seen": self.now}
            s.execute(update(Building).where(Building.mesh == mesh).values(at))
        self.look()

    def look(self, minutes: float = 0.0) -> None:
        """Let time pass, then look."""
        self.now += int(minutes * MINUTE)
        self.troubles.look(self.now)

    def stays(self, *warnings: Warning, minutes: int, **more: str) -> None:
        """The same summary for some minutes, one a minute."""
        for _ in range(minutes):
            self.now += MINUTE
            self.hears(*warnings, **more)  # type: ignore[arg-type]

    @property
    def titles(self) -> list[str]:
        with self.alerts.read() as s:
            return list(s.scalars(select(Report.title).order_by(Report.id)))

    @property
    def bodies(self) -> list[str]:
        with self.alerts.read() as s:
            return list(s.scalars(select(Report.body).order_by(Report.id)))


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    engine = open_database(f"sqlite:///{tmp_path / 'sink.db'}")
    yield Sink(engine)
    engine.dispose()


def camera(name: str) -> Warning:
    return Warning("camera.gone", name, f"the camera {name} has been gone", "check it", "error")


def node(name: str) -> Warning:
    return Warning("node.gone", name, f"the node {name} has been gone", "check it", "error")


def counted(code: str, of: str, times: int = 1) -> Warning:
    """As the sender of the summary tells the warnings of another node."""
    return Warning(code, of, f"{of}: {code}" + (f" ({times} times)" if times > 1 else ""), "", "error", of)


def minute(sink: Sink, ago: int) -> str:
    return f"{datetime.fromtimestamp((sink.now - ago * MINUTE) / 1000).astimezone():%H:%M}"


def test_a_camera_is_told_when_it_goes_and_when_it_is_back(sink: Sink) -> None:
    sink.hears()
    sink.look(5)
    sink.hears(camera("front"))
    since = minute(sink, 10)
    sink.stays(camera("front"), minutes=24)
    assert sink.titles == [f"Home m1: camera ap/front is gone since {since}"]
    assert sink.bodies == [f"See {PAGE}/buildings#b-m1"]
    sink.stays(minutes=40)
    assert sink.titles[1:] == ["Home m1: camera ap/front is back after 35 min"]
    assert Notices(sink.engine).waiting() == 4  # two reports on two channels


def test_restarts_at_any_moment_neither_repeat_nor_forget(sink: Sink) -> None:
    sink.hears()
    for _ in range(20):
        sink.restart()
        sink.stays(camera("front"), minutes=1)
    for _ in range(20):
        sink.restart()
        sink.stays(minutes=1)
    assert [t.split(" is ")[1].split()[0] for t in sink.titles] == ["gone", "back"]


def test_a_power_cut_is_one_notice_with_the_number(sink: Sink) -> None:
    sink.hears()
    names = [f"n{i:03}" for i in range(100)]
    for known in range(10, 101, 10):  # they are found to be gone within two minutes
        sink.hears(*map(node, names[:known]), camera("front"))
        sink.look(0.18)
    sink.stays(*map(node, names), camera("front"), minutes=30)
    assert sink.titles == ["Home m1: 1 camera gone, 100 nodes gone"]
    assert "100 nodes gone since" in sink.bodies[0]
    assert "node n009 and 90 more" in sink.bodies[0]
    sink.stays(minutes=20, **dict.fromkeys(names, "yes"))
    assert sink.titles[1:] == ["Home m1: 1 camera back, 100 nodes back"]


def test_a_flapping_camera_is_soon_told_no_more(sink: Sink) -> None:
    sink.hears()
    for _ in range(20):  # eight hours
        sink.hears(camera("front"))
        sink.look(10)
        sink.hears()
        sink.look(14)
    assert [t.split(" is ")[1].split()[0] for t in sink.titles] == ["gone", "back", "gone"]
    sink.look(120)
    assert len(sink.titles) == 4


def test_a_short_trouble_is_not_told(sink: Sink) -> None:
    sink.hears()
    sink.hears(camera("front"))
    sink.look(1)
    sink.stays(minutes=60)
    assert sink.titles == []


def test_a_restart_of_the_sending_node_ends_no_trouble(sink: Sink) -> None:
    sink.hears()
    sink.stays(camera("front"), minutes=10)
    sink.stays(minutes=LASTING // MINUTE - 1)  # it needs ten minutes to find the absence again
    sink.stays(camera("front"), minutes=10)
    assert len(sink.titles) == 1


def test_a_second_camera_is_told_on_its_day(sink: Sink) -> None:
    sink.hears()
    sink.stays(camera("front"), minutes=10)
    sink.stays(camera("front"), camera("back"), minutes=10)
    assert ["front" in t for t in sink.titles] == [True, False]
    assert "camera ap/back is gone" in sink.titles[1]


def test_cameras_of_other_nodes_come_as_counts(sink: Sink) -> None:
    sink.hears()
    sink.stays(counted("camera.gone", "hall"), minutes=5)
    sink.stays(counted("camera.gone", "hall", 3), minutes=5)
    assert "a camera of hall is gone since" in sink.titles[0]
    assert sink.titles[1] == "Home m1: 2 cameras gone"
    sink.stays(counted("camera.gone", "hall", 2), minutes=20)
    assert "a camera of hall is back after" in sink.titles[2]


def test_two_sending_nodes_in_turn_tell_one_trouble(sink: Sink) -> None:
    sink.hears()
    for _ in range(20):
        sink.stays(camera("front"), node("gpu"), counted("node.gone", "op"), minutes=1)
        sink.stays(counted("camera.gone", "ap"), node("gpu"), minutes=1, node="ap2")
    assert sink.titles == ["Home m1: 1 camera gone, 1 node gone"]
    sink.stays(minutes=20, gpu="yes")
    assert len(sink.titles) == 2


def test_a_node_that_is_not_listed_any_more_is_not_back(sink: Sink) -> None:
    sink.hears()
    sink.stays(node("gpu"), minutes=5, gpu="no")
    sink.stays(minutes=20)
    assert "node gpu is not reported any more (removed?) after" in sink.titles[1]


def test_several_nodes_that_are_not_listed_are_not_back(sink: Sink) -> None:
    sink.hears()
    sink.stays(node("a"), node("b"), node("c"), minutes=5)
    sink.stays(minutes=20, c="yes")
    assert sink.titles[1] == "Home m1: 2 nodes not reported any more (removed?), 1 node back"


def test_a_clock_that_goes_back_ends_a_silence_all_the_same(sink: Sink) -> None:
    sink.hears()
    sink.look(40)
    sink.now -= 600 * MINUTE
    sink.hears()
    assert [t.split(" Home m1 ")[1].split()[0] for t in sink.titles] == ["does", "reports"]


def test_the_beginning_is_left_out_where_it_is_not_known(sink: Sink) -> None:
    sink.stays(camera("front"), minutes=5)  # in the first summary that this sink sees
    sink.stays(minutes=20)
    assert sink.titles == ["Home m1: camera ap/front is gone", "Home m1: camera ap/front is back"]


def test_a_building_without_a_word_is_told_once_and_its_return(sink: Sink) -> None:
    sink.hears(every=240)
    since = minute(sink, 0)
    for _ in range(9):
        sink.look(1)
    assert sink.titles == []
    for _ in range(60):
        sink.restart() if sink.titles else None
        sink.look(1)
    assert sink.titles == [f"building Home m1 does not report since {since}"]
    sink.hears(every=240)
    assert sink.titles[1:] == ["building Home m1 reports again after 69 min"]


def test_silence_is_measured_by_the_announced_pause(sink: Sink) -> None:
    sink.hears(every=900)
    sink.look(30)
    assert sink.titles == []
    sink.look(1)
    assert len(sink.titles) == 1


def test_the_sinks_own_downtime_is_no_silence(sink: Sink) -> None:
    sink.hears(every=240)
    sink.now += 600 * MINUTE
    sink.restart()
    sink.look(9)
    assert sink.titles == []
    sink.look(2)
    assert len(sink.titles) == 1


def test_a_silent_building_keeps_its_troubles(sink: Sink) -> None:
    sink.hears(every=240)
    sink.stays(node("gpu"), minutes=5, every=240)  # type: ignore[arg-type]
    sink.look(60)
    sink.stays(node("gpu"), minutes=3, every=240)  # type: ignore[arg-type]
    assert [t for t in sink.titles if "gpu" in t] == sink.titles[:1]
    assert len(sink.titles) == 3


def test_all_buildings_at_once_are_one_notice(sink: Sink) -> None:
    for n in range(30):
        sink.hears(mesh=f"m{n}", every=240)
    sink.look(15)
    assert sink.titles == ["30 buildings do not report"]
    assert "and 20 more" in sink.bodies[0]
    for n in range(30):
        sink.alerts.add_status(StatusSummary(mesh=f"m{n}", node="ap", time="1", every=240), f"Home m{n}")
    with sink.alerts.write() as s:
        s.execute(update(Building).values(received=sink.now, seen=sink.now))
    sink.look(1)
    assert sink.titles[1:] == ["30 buildings report again"]


def test_buildings_with_a_revoked_key_are_not_followed(sink: Sink) -> None:
    sink.hears(camera("front"), every=240)
    sink.access.revoke_key(sink.keys["m1"])
    sink.look(60)
    assert sink.titles == []
    with sink.alerts.read() as s:
        assert s.scalars(select(Trouble)).all() == []


def test_other_codes_can_be_chosen_and_are_told_by_their_names(sink: Sink) -> None:
    sink.codes = parse_notices("on,disk.full")
    sink.restart()
    sink.hears()
    full = Warning("disk.full", "/var", "full", "")
    sink.stays(full, counted("disk.full", "hall"), Warning("queue.full", "ap", "full", ""), minutes=5)
    assert sink.titles == ["Home m1: 2 disk.full new"]
    assert "disk.full on ap (/var), disk.full on hall" in sink.bodies[0]
    sink.stays(counted("disk.full", "hall"), minutes=15)
    assert "disk.full on ap (/var) is over after" in sink.titles[1]


def test_a_building_that_lies_costs_few_notices_and_rows(sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    sink.hears()
    with caplog.at_level(logging.WARNING):
        for n in range(40):
            odd = [camera(f"\x1b<!channel>{n}-{i}\n{'x' * 900}") for i in range(100)]
            sink.now += 2 * MINUTE
            sink.hears(*odd, counted("camera.gone", "y", 999), node(f"z{n}"))
    with sink.alerts.read() as s:
        rows = list(s.scalars(select(Trouble)))
    assert len(rows) <= MOST_ROWS
    assert sum(r.state != "over" for r in rows) <= MOST
    assert all(len(r.subject) <= 80 and r.subject.isprintable() for r in rows)
    assert len(sink.titles) <= 2 * PER_HOUR
    assert max(map(len, [*sink.titles, *sink.bodies])) < 2500
    assert caplog.text.count("not followed") == 1


def test_what_comes_above_the_limit_waits_for_one_notice(sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    sink.hears()
    found: list[Warning] = []
    for n in range(PER_HOUR + 4):
        found.append(camera(f"c{n}"))
        sink.stays(*found, minutes=3)
    assert len(sink.titles) == PER_HOUR
    assert caplog.text.count("the next notice waits") == 1
    sink.stays(*found, minutes=60)
    assert sink.titles[PER_HOUR:] == ["Home m1: 4 cameras gone"]


def test_notices_that_are_off_forget_what_they_followed(sink: Sink) -> None:
    sink.hears()
    sink.stays(camera("front"), minutes=5)
    Troubles(sink.engine, (), (), "").forget()
    sink.restart()
    sink.stays(minutes=30)
    assert len(sink.titles) == 1


def test_a_trouble_that_was_over_for_a_day_begins_again(sink: Sink) -> None:
    sink.hears()
    for _ in range(2):
        sink.stays(camera("front"), minutes=5)
        sink.stays(minutes=20)
        sink.look(25 * 60)
        sink.hears(camera("front"))
    with sink.alerts.read() as s:
        assert [t.times for t in s.scalars(select(Trouble).where(Trouble.code == "camera.gone"))] == [1]


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("off", ()),
        ("", ()),
        ("on", USUAL),
        ("node.gone", ("node.gone",)),
        ("on, disk.full,node.gone", (*USUAL, "disk.full")),
    ],
)
def test_the_setting_names_codes(text: str, codes: tuple[str, ...]) -> None:
    assert parse_notices(text) == codes


@pytest.mark.parametrize("text", ["yes", "Node.Gone", "node.gone;x", "node.gon", "on,off,x.y"])
def test_the_setting_refuses_words_that_are_no_codes(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_notices(text)


def test_gathering_ends_before_an_end_can_be_told() -> None:
    assert GATHER < LASTING
