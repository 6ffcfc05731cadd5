"""This version continues with the previous version's folders: the agent's state folder and the sink's."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from demo import phone
from demo.environment import write_private
from tests.story.building import ENDS, Building, building, mac
from tests.upgrade.unpacking import Fixture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STEPS = ("arrived", "photos", "small", "labels", "alert", "archive")
Upgraded = tuple[Building, Fixture]


@pytest.fixture(scope="module", params=["stopped", "killed"])
def upgraded(request: pytest.FixtureRequest) -> Iterator[Upgraded]:
    """The agent of this version on the state; a phone joined while it was off. The sink and other nodes are off."""
    with building() as b:
        fixture = Fixture(request.param, b)
        if request.param == "killed":
            assert (fixture.box.state / "journal.db-wal").stat().st_size > 500_000
            assert (b.sink.data / "sink.db-wal").stat().st_size > 100_000
            fixture.expire_certificate()
        phone.append(fixture.box.messages, phone.joins(mac(4)))
        fixture.box.start()
        fixture.box.wait()
        b.until("its last phone's alert waits for the sink", lambda: state(b)["uplink"]["waiting"] == 2)
        yield b, fixture


def state(b: Building) -> dict[str, Any]:
    status = b["box"].status()
    assert status is not None
    return status


def counts(status: dict[str, Any]) -> dict[str, Counter[str]]:
    """For each step: the number of accepted events, open events, and events of each end."""
    (pipeline,) = status["pipelines"]
    return {
        s["step"]: Counter({**s["ends"], "accepted": s["accepted"], "open": s["open"]})
        for s in pipeline["steps"]
        if s["step"] in STEPS
    }


def test_node_mesh_labels_and_pipeline_are_the_same(upgraded: Upgraded) -> None:
    b, fixture = upgraded
    now, then = state(b), fixture.facts
    assert {**now["node"], "boot": ""} == {**then["node"], "boot": ""}
    assert now["mesh"]["id"] == then["mesh"]["id"]
    assert [(p["name"], p["version"]) for p in now["pipelines"]] == [
        (p["name"], p["version"]) for p in then["pipelines"]
    ]
    assert b["box"].ask("get", "/v1/pipelines/upgrade/history") == then["history"]
    assert now["certificate"]["days_left"] > 0


def test_devices_cameras_and_tokens_are_the_same(upgraded: Upgraded) -> None:
    b, fixture = upgraded
    box, then = b["box"], fixture.facts
    kept = ("id", "known", "private", "first_seen")
    devices = {d["id"]: d for d in box.ask("get", "/v1/devices")}
    for old in then["devices"]:
        new = devices[old["id"]]
        assert {k: new[k] for k in kept} == {k: old[k] for k in kept}
        assert new.get("name") == old.get("name")
    assert devices.keys() - {d["id"] for d in then["devices"]} == {mac(4)}
    (camera,) = box.ask("get", "/v1/cameras")
    assert (camera["node"], camera["name"], camera["kind"], camera["ok"]) == ("box", "porch", "file", True)
    kept = ("id", "role", "labels", "uses", "left")
    tokens = [{k: t[k] for k in kept} for t in box.ask("get", "/v1/tokens")]
    assert tokens == [{k: t[k] for k in kept} for t in then["tokens"]]


def test_accepted_events_are_ended_or_open(upgraded: Upgraded) -> None:
    b, fixture = upgraded
    now, then = counts(state(b)), counts(fixture.facts)
    for step in STEPS:
        assert now[step]["accepted"] == sum(now[step][e] for e in ENDS) + now[step]["open"]
        more = now[step] - then[step]
        assert more["accepted"] == 1, (step, more)
        assert more.total() == 2, (step, more)
    # A camera is NODE/CAMERA since then: its first photo with this name is archived.
    assert (now["archive"] - then["archive"])["open"] == 1
    assert (now["alert"] - then["alert"])["open"] == 1
    # The decision that only a camera's first photo is archived survives the upgrade, under the camera's old name.
    name = state(b)["pipelines"][0]["name"]
    event = {"step": "archive", "type": "image.labels", "data": {"camera": "porch"}}
    b["box"].ask("post", f"/v1/pipelines/{name}/trigger", event)
    b.until(
        "the old decision counts",
        lambda: counts(state(b))["archive"]["deduplicated"] == then["archive"]["deduplicated"] + 1,
    )


def test_blobs_added_by_hand_and_photos_kept_are_there(upgraded: Upgraded) -> None:
    b, fixture = upgraded
    box = b["box"]
    then = {x["cid"]: x["size"] for x in fixture.facts["blobs"]["blobs"]}
    assert fixture.secrets["by_hand"] in then
    now = box.blobs()
    assert {cid: len(now[cid]) for cid in then} == then
    assert now[fixture.secrets["by_hand"]].startswith(b"a blob that somebody added by hand")
    with contextlib.closing(sqlite3.connect(f"file:{box.state}/journal.db?mode=ro", uri=True)) as db:
        kept = {cid for (cid,) in db.execute("SELECT cid FROM kept")}
    assert kept
    assert kept <= then.keys()


def test_ledger_has_the_same_rows_and_sums(upgraded: Upgraded) -> None:
    b, fixture = upgraded
    of_all_time = {"limit": 1000, "since": 0}  # the fixture is older than a day
    then, now = fixture.facts["egress"], b["box"].ask("get", "/v1/egress", of_all_time)
    assert [r for r in now["rows"] if r["time"] <= then["rows"][0]["time"]] == then["rows"]
    assert then["total"]["alerts"] == now["total"]["alerts"] == 3
    later = [r for r in now["rows"] if r["time"] > then["rows"][0]["time"]]
    assert now["total"]["up"] == then["total"]["up"] + sum(r["up"] for r in later)


def test_old_alerts_are_traced_from_the_old_journal(upgraded: Upgraded) -> None:
    b, fixture = upgraded
    old = [r["event"] for r in fixture.facts["egress"]["rows"] if r["event"]]
    assert len(old) == 3
    for alert in old:
        trace = b.trace(alert, b["box"])
        assert [h["step"] for h in trace["hops"]] == ["line", "wifi", "arrived", "photos", "small", "labels", "alert"]


def test_sink_shows_old_alerts_and_gets_waiting_ones_once(upgraded: Upgraded) -> None:
    b, fixture = upgraded
    old = {r["event"] for r in fixture.facts["egress"]["rows"] if r["event"]}
    b.sink.start()
    b.sink.wait()
    b.until("nothing waits", lambda: state(b)["uplink"]["waiting"] == 0)
    stored = [event for event, _, _ in b.alerts()]
    assert len(stored) == len(set(stored)) == 5
    assert old == set(stored[:3])
    command = [sys.executable, "-m", "cloud_sink", "user", "login-link", "--data", str(b.sink.data), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    url = b.sink.url.partition("#")[0]
    with httpx.Client(base_url=url, verify=False, timeout=20, follow_redirects=True) as browser:
        assert browser.get("/login/" + json.loads(done.stdout)["link"].rsplit("/", 1)[1]).status_code == 200
        page = browser.get("/").text
        assert page.count("<article") == 5
        photos = [browser.get(f"/photos/{n}.jpg") for n in range(1, 6)]
    assert [(p.status_code, p.headers["content-type"]) for p in photos] == [(200, "image/jpeg")] * 5


def test_open_rows_end_on_a_node_that_joins_by_the_old_token(upgraded: Upgraded) -> None:
    b, fixture = upgraded
    box, attic = b["box"], b.add("attic", labels={"attic": "true"})
    word = b.folder / "attic.token"
    write_private(word, fixture.token(box))
    attic.start("--join", f"@{word}")
    assert attic.wait()["mesh"]["id"] == fixture.facts["mesh"]["id"]
    b.together()
    b.until("everything has ended", b.quiet)
    b.check_sums()
    now = counts(state(b))
    assert [now[step]["open"] for step in STEPS] == [0] * len(STEPS)
    assert (now["archive"]["delivered"], now["archive"]["deduplicated"]) == (2, 4)
    assert now["alert"]["delivered"] == 5
    assert len(b.alerts()) == 5
    (record,) = [t for t in box.ask("get", "/v1/tokens") if t["labels"] == {"attic": "true"}]
    assert (record["uses"], record["left"]) == (3, 2)


def test_a_journal_of_a_newer_version_is_refused_untouched() -> None:
    with building() as b:
        box = Fixture("stopped", b).box
        file = box.state / "journal.db"
        with contextlib.closing(sqlite3.connect(file)) as db:
            db.execute("PRAGMA journal_mode=DELETE")
            db.execute("PRAGMA user_version=9999")
            db.execute("PRAGMA journal_mode=WAL")
        before = file.read_bytes()
        done = box.cli("serve", "--config", str(box.folder / "config.yaml"))
        assert done.code == 1
        assert "[journal.version]" in done.err
        assert "9999" in done.err
        assert file.read_bytes() == before
        assert not (box.state / "journal.db-wal").exists()


def test_a_sink_database_of_a_newer_version_is_refused_untouched() -> None:
    with building() as b:
        Fixture("stopped", b)
        file = b.sink.data / "sink.db"
        with contextlib.closing(sqlite3.connect(file)) as db:
            db.execute("UPDATE alembic_version SET version_num = 'v9999'")
            db.commit()
        before = file.read_bytes()
        command = [sys.executable, "-m", "cloud_sink", "serve", "--data", str(b.sink.data), "--port", "0"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 2
        assert "[sink.database]" in done.stderr
        assert "newer version" in done.stderr
        assert file.read_bytes() == before
