"""The commands `ping`, `netcheck` and `bugreport`."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.cli.bugreport_archive import Redaction
from agent.model.mac import MAC_IN_TEXT
from tests.api.memory import MAC, MemoryAgent
from tests.cli.conftest import Shell


async def test_ping_shows_each_round_trip_and_a_summary(edge: Shell) -> None:
    shown = await edge("ping", "gpu", "-c", "2", "-i", "0")
    assert shown.code == 0
    assert shown.out.count("1.25 ms  direct 10.0.0.4:7946") == 2
    assert "2 of 2 answered" in shown.out


async def test_ping_of_a_silent_node_ends_with_1(edge: Shell) -> None:
    shown = await edge("ping", "garage", "-c", "2", "-i", "0")
    assert shown.code == 1
    assert "0 of 2 answered" in shown.out
    rows = (await edge("ping", "garage", "-c", "2", "-i", "0", "--json")).out.splitlines()
    assert [json.loads(r)["error"]["code"] for r in rows] == ["unreachable"] * 2


async def test_ping_of_an_unknown_node_is_not_repeated(edge: Shell) -> None:
    shown = await edge("ping", "nowhere", "-c", "3")
    assert shown.code == 6
    assert shown.err.count("error:") == 1


async def test_netcheck_names_what_to_do_and_fails_for_a_fault(edge: Shell) -> None:
    shown = await edge("netcheck")
    assert shown.code == 1
    for text in (
        "relayed",
        "16 KiB lost",
        "on porch: ufw allow 7946/tcp",
        "not heard: porch",
        "10.0.0.9:7946: no answer",
    ):
        assert text in shown.out, text
    assert (await edge("netcheck", "--json")).json["nodes"][1]["way"] == "relayed"


async def test_a_bug_report_has_the_parts_and_hides_people(edge: Shell, agent: MemoryAgent) -> None:
    agent.devices[MAC].name = "Ada's phone"
    agent.recent = 3
    done = await edge("bugreport", "-o", "r.tar.gz", "--json")
    assert done.code == 0, done.err
    file = edge.folder / "r.tar.gz"
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        texts = {m.name: archive.extractfile(m).read().decode() for m in archive.getmembers()}  # type: ignore[union-attr]
    assert {f"edge-agent-bugreport/{p}.json" for p in ("host", "doctor", "status", "netcheck", "events")} <= set(texts)
    whole = "\n".join(texts.values())
    assert not MAC_IN_TEXT.search(whole)
    assert "Ada" not in whole
    assert "device-1" in whole
    assert len(json.loads(texts["edge-agent-bugreport/events.json"])) == 3
    assert "person-at-the-door" in whole


async def test_a_bug_report_replaces_no_file_unasked(edge: Shell) -> None:
    (edge.folder / "r.tar.gz").write_text("mine")
    refused = await edge("bugreport", "-o", "r.tar.gz")
    assert refused.code == 2
    assert "--force" in refused.err
    assert (edge.folder / "r.tar.gz").read_text() == "mine"
    assert (await edge("bugreport", "-o", "r.tar.gz", "--force")).code == 0


async def test_a_bug_report_works_without_an_agent(edge: Shell) -> None:
    done = await edge("bugreport", "-o", "r.tar.gz", "--json", EDGE_AGENT_SOCKET=str(edge.folder / "none.sock"))
    assert done.code == 0
    assert {"host", "doctor"} <= set(done.json["parts"])
    assert "no agent answers" in done.json["missing"]["status"]


async def test_a_place_that_cannot_be_written_is_named(edge: Shell) -> None:
    refused = await edge("bugreport", "-o", "/proc/none/r.tar.gz")
    assert refused.code == 2
    assert "cannot be written" in refused.err


def test_secrets_and_public_addresses_are_hidden() -> None:
    value = {
        "join": "edge1.c2VjcmV0c2VjcmV0", "password": "hunter2", "source": "rtsp://ada:s3cret@10.0.0.9/live",
        "seen": ["from 93.184.216.34 to 10.0.0.4:7946", "2606:2800:220:1:248:1893:25c8:1946", "fe80::1"], "at": "2026-11-22T10:00:00Z",
    }  # fmt: skip
    shown = json.dumps(Redaction({}).value(value))
    for secret in ("c2VjcmV0", "hunter2", "s3cret", "93.184.216.34", "2606:2800"):
        assert secret not in shown, secret
    for kept in ("10.0.0.4:7946", "10.0.0.9/live", "fe80::1", "2026-11-22T10:00:00Z"):
        assert kept in shown, kept


MACS = st.lists(st.binary(min_size=6, max_size=6), min_size=1, max_size=6)


@given(MACS, st.sampled_from([":", "-"]), st.booleans())
def test_no_mac_remains_and_equal_ones_stay_equal(raw: list[bytes], mark: str, upper: bool) -> None:
    texts = [b.hex(mark).upper() if upper else b.hex(mark) for b in raw]
    redaction = Redaction({})
    shown = [redaction.text(f"joined {t}.") for t in texts]
    assert not any(MAC_IN_TEXT.search(s) for s in shown)
    assert len(set(shown)) == len(set(raw))


def test_the_names_of_devices_are_replaced_whole_words_only() -> None:
    redaction = Redaction({"Ada": MAC, "Ada's phone": "3c:22:fb:00:00:02"})
    assert redaction.text(f"Ada's phone, Ada, Adam, {MAC}") == "device-2, device-1, Adam, device-1"


def test_a_long_part_keeps_its_end(tmp_path: Path) -> None:
    from agent.cli.bugreport_archive import MAX_PART, write_archive

    write_archive(tmp_path / "r.tar.gz", {"agent.log": "x" * MAX_PART + "the end"}, Redaction({}))
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "r.tar.gz").read_bytes())) as archive:
        (member,) = archive.getmembers()
        found = archive.extractfile(member)
        assert found is not None
        assert found.read().endswith(b"the end")
        assert member.size == MAX_PART
