"""The disks afterwards: photos without a match never left the building and are deleted."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.executors.docker_image import busybox_image
from tests.story.building import FILTERS, Building, Node, arrive, building
from tests.story.pipelines import story

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.timeout(240)]

ARRIVALS = 12


@pytest.fixture(scope="module")
def agents() -> Iterator[Building]:
    """A building in which devices came: `porch` saw people in two shots each, `garage` saw nobody."""
    busybox_image()
    with building() as b:
        b.add("box", labels={"uplink": "true"}, docker=True)
        b.add("ap", labels={"wifi-log": "true"})
        b.add("porch", labels={"camera": "true"}, cameras=("porch",))
        b.add("garage", labels={"camera": "true"}, cameras=("empty",))
        b.start()
        b.connect_sink("box")
        b.apply(story(str(FILTERS), shots=2), b["box"])
        arrive(b["ap"], range(ARRIVALS))
        b.until("an alert for each device", lambda: len(b.alerts()) >= ARRIVALS, 90)
        b.until("everything has ended", b.quiet, 60)
        yield b


def events(node: Node) -> list[dict[str, Any]]:
    """The events in a node's journal."""
    with contextlib.closing(sqlite3.connect(f"file:{node.state}/journal.db?mode=ro", uri=True, timeout=10)) as db:
        return [json.loads(body) for (body,) in db.execute("SELECT body FROM event")]


def cids_of(b: Building, *, camera: str) -> set[str]:
    """The blobs of all events about photos of a camera, on any node."""
    found = (e["data"] for n in b.nodes.values() for e in events(n) if e["data"].get("camera") == camera)
    return {blob["cid"] for data in found for blob in data.get("blobs", ())}


def alerted(b: Building) -> set[str]:
    """The blobs in the lines of events that led to alerts."""
    known = {e["id"]: e for n in b.nodes.values() for e in events(n)}
    with contextlib.closing(sqlite3.connect(f"file:{b.sink.data}/sink.db?mode=ro", uri=True)) as db:
        parents = [json.loads(e)["parent"] for (e,) in db.execute("SELECT event FROM alerts")]
    found: set[str] = set()
    while parents:
        event = known.get(parents.pop())
        if event is not None:
            found |= {blob["cid"] for blob in event["data"].get("blobs", ())}
            parents += [event["parent"]] if event.get("parent") else []
    return found


def files_below(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        yield from (p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def test_photos_without_a_match_are_on_no_disk(agents: Building) -> None:
    unmatched = cids_of(agents, camera="garage/empty")
    assert len(unmatched) == ARRIVALS * 4  # two shots, each before and after the rescale
    matched = alerted(agents)
    agents.until(
        "the last are deleted", lambda: not any(n.blobs().keys() & unmatched for n in agents.nodes.values()), 20
    )
    for node in agents.nodes.values():
        images = {cid for cid, content in node.blobs().items() if not content.startswith(b"\0asm")}
        assert not images & unmatched, node.name
        assert images <= matched, node.name
    # Not a part of their pixels is in any database, spool, cache or scratch folder either.
    signatures = [p.read_bytes()[-400:-200] for p in (agents.folder / "pictures/empty").iterdir()]
    states = [n.state for n in agents.nodes.values()]
    for path in files_below(*states, agents.sink.data):
        content = path.read_bytes()
        assert not any(s in content for s in signatures), path


def test_matched_photos_are_kept_where_they_were_taken(agents: Building) -> None:
    matched = alerted(agents)
    assert len(matched & agents["porch"].blobs().keys()) == ARRIVALS * 2  # the photo and what was made of it


def test_the_sink_has_nothing_but_labelled_photos_of_alerts(agents: Building) -> None:
    photos = list(files_below(agents.sink.data / "photos"))
    assert len(photos) == ARRIVALS
    for path in photos:
        with Image.open(path) as image:
            _, green, blue = image.convert("RGB").resize((1, 1)).getpixel((0, 0))
        assert green < blue, path  # the porch's pictures are blue, the garage's are green
    with contextlib.closing(sqlite3.connect(f"file:{agents.sink.data}/sink.db?mode=ro", uri=True)) as db:
        listed = {digest for (digest,) in db.execute("SELECT digest FROM photos")}
    assert {p.stem for p in photos} == listed


def test_the_ledger_has_all_requests(agents: Building) -> None:
    rows = []
    for node in agents.nodes.values():
        done = node.cli("egress", "--json")
        assert done.code == 0, done.err
        found = done.json["rows"] if isinstance(done.json, dict) else done.json
        assert node.name == "box" or not found
        rows += found
    assert {r["kind"] for r in rows} <= {"hello", "alert", "status", "close"}
    sent = [r["event"] for r in rows if r["kind"] == "alert"]
    assert sorted(sent) == sorted(e for e, _, _ in agents.alerts())
    assert all(r["up"] > 0 for r in rows if r["kind"] == "alert")
