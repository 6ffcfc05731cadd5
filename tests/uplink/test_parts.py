"""Addresses, masks, ledger and spool: the parts by themselves."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.database import move_aside
from agent.errors import ConfigError, EdgeError, IdentityError
from agent.model.envelope import check, key_digest, open_envelope, seal
from agent.model.event import Event
from agent.uplink import EgressLedger, has_mac, load_mask_key, mask_device, mask_event, masked, parse_address
from agent.uplink.connect import load_sink
from agent.uplink.ledger import LEDGER
from agent.uplink.spool import Settled, Spool, Waiting

PIN = "0a" * 32
DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (f"https://10.0.0.7:8443#sha256={PIN}", "https://10.0.0.7:8443"),
        (f"https://sink.example#sha256={PIN.upper()}", "https://sink.example:443"),
        (f"https://[fd00::1]:9443/#sha256={PIN}", "https://[fd00::1]:9443"),
        (f"mqtts://me@broker#sha256={PIN}", "mqtts://broker:8883"),
        ("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883"),
    ],
)
def test_an_address_is_read_and_written_again(text: str, url: str) -> None:
    address = parse_address(text)
    assert address.url == url
    assert parse_address(address.line) == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("https://10.0.0.7", "pin is missing"),
        (f"http://10.0.0.7#sha256={PIN}", "not an address"),
        ("https://10.0.0.7#sha256=123", "64 hex"),
        (f"https://u:p@10.0.0.7#sha256={PIN}", "password"),
        (f"https://10.0.0.7/path#sha256={PIN}", "only the pin may follow"),
        (f"https://10.0.0.7:99999#sha256={PIN}", "not an address"),
        (f"mqtt://10.0.0.7#sha256={PIN}", "no certificate"),
        ("", "not an address"),
    ],
)
def test_a_wrong_address_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_address(text)


@given(st.binary(min_size=6, max_size=6), st.sampled_from([":", "-", "."]), st.booleans())
def test_a_mac_has_one_mask_however_it_is_written(raw: bytes, sign: str, upper: bool) -> None:
    plain = raw.hex()
    step = 4 if sign == "." else 2
    text = sign.join(plain[i : i + step] for i in range(0, 12, step))
    text = text.upper() if upper else text
    assert masked(text, b"k" * 32) == masked(plain, b"k" * 32)
    event = Event(id="e", source="s", type="t", time="n", subject=text, data={"a": [f"({text})", {text: 1}]})
    assert has_mac(event)
    clean = mask_event(event, b"k" * 32)
    assert not has_mac(clean)
    assert clean.subject == masked(text, b"k" * 32)


@pytest.mark.parametrize(
    "text", ["sta-{}", "add-{}", "{}-added", "{}: associated", "it was {}.", ".{}", "{}-", "x:{}:y", "-{}- {}"]
)
def test_a_mac_is_masked_beside_any_punctuation(text: str) -> None:
    for mac in ("aa:bb:cc:dd:ee:ff", "AA-BB-CC-DD-EE-FF", "aabb.ccdd.eeff"):
        event = Event(id="e", source="s", type="t", time="n", subject=text.format(mac, mac))
        assert has_mac(event)
        clean = mask_event(event, b"k" * 32).subject
        assert clean == text.format(masked(mac, b"k" * 32), masked(mac, b"k" * 32))


def test_a_device_keeps_all_but_its_mac() -> None:
    data = {"device": {"mac": "aa:bb:cc:dd:ee:ff", "name": "Anna's phone"}, "camera": "porch"}
    found = mask_device(data, b"k" * 32)
    assert found == {"device": {"name": "Anna's phone", "id": masked("aabbccddeeff", b"k" * 32)}, "camera": "porch"}
    assert data["device"]["mac"] == "aa:bb:cc:dd:ee:ff"  # type: ignore[index]
    assert masked("aabbccddeeff", b"k" * 32) != masked("aabbccddeeff", b"l" * 32)


@pytest.mark.parametrize(
    "text", ["2026-11-22T10:11:12:13", "aa:bb:cc:dd:ee", "00:11:22:33:44:55:66", "bafkreigh2akiscaild"]
)
def test_what_only_looks_like_a_mac_is_left_alone(text: str) -> None:
    assert mask_device({"x": text}, b"k" * 32) == {"x": text}


def test_the_mask_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "mask.key"
    key = load_mask_key(path)
    assert load_mask_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"short")
    with pytest.raises(IdentityError):
        load_mask_key(path)


def test_the_ledger_stays_bounded_and_its_sums_stay_true(tmp_path: Path) -> None:
    ledger = EgressLedger(tmp_path / "egress.db", max_rows=500)
    for _ in range(10):
        for _ in range(250):
            ledger.add(kind="alert", event_id="e", sink="https://s", up=100, down=10, result="HTTP 200")
        ledger.rows()
    assert ledger.totals()["all"]["up"] == 250_000
    assert len(ledger.rows()) < 1000
    assert ledger.rows()[0].kind == "folded"
    ledger.close()


def fill(ledger: EgressLedger, rows: int) -> None:
    for _ in range(rows):
        ledger.add(kind="alert", event_id="e", sink="https://s", up=100, down=10, result="x" * 200)


@pytest.mark.parametrize("first", [0, 8192], ids=["whole", "a page"])
def test_a_damaged_ledger_is_moved_aside_and_begun_anew(
    tmp_path: Path, first: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "egress.db"
    ledger = EgressLedger(path)
    fill(ledger, 500)
    ledger.close()
    path.write_bytes(damaged := path.read_bytes()[:first] + b"\xff" * 65536)
    ledger = EgressLedger(path)
    assert ledger.totals()["all"] == {"requests": 0, "up": 0, "down": 0}
    fill(ledger, 3)
    assert len(ledger.rows()) == 3
    ledger.close()
    (aside,) = tmp_path.glob("egress.db.damaged-*")
    assert aside.read_bytes() == damaged
    assert aside.name in caplog.text


def test_a_damaged_database_takes_its_log_along(tmp_path: Path) -> None:
    for name in ("egress.db", "egress.db-wal"):
        (tmp_path / name).touch()
    aside = move_aside(tmp_path / "egress.db", LEDGER)
    assert sorted(p.name for p in tmp_path.iterdir()) == [aside.name, f"{aside.name}-wal"]


@pytest.mark.parametrize("damage", ["bytes", "a folder"])
def test_a_spool_that_cannot_be_used_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "spool.db"
    if damage == "bytes":
        path.write_bytes(b"\0" * 8192)
    else:
        path.mkdir()
    with pytest.raises(EdgeError, match=str(path)) as e:
        Spool(path)
    assert e.value.code == "uplink.open"
    assert ("move it away" in e.value.hint) == (damage == "bytes")


def stored(path: Path, dump: str) -> Path:
    """A file as the first version of the agent left it; the dumps in data/ never change."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript((DATA / dump).read_text())
    return path


def test_a_spool_of_the_first_format_opens(tmp_path: Path) -> None:
    spool = Spool(stored(tmp_path / "spool.db", "spool-v0.sql"))
    assert spool.next() == Waiting(1, "waits", b"alert", 1)
    assert spool.settled() == [Settled("sent", "delivered", "")]
    assert spool.add("sent", b"x") == Settled("sent", "delivered", "")
    spool.close()


def test_a_ledger_of_the_first_format_opens(tmp_path: Path) -> None:
    ledger = EgressLedger(stored(tmp_path / "egress.db", "egress-v0.sql"))
    ledger.add(kind="alert", event_id="next", sink="https://s", up=1, down=1, result="HTTP 200")
    assert [(r.seq, r.kind, r.event_id, r.up) for r in ledger.rows()] == [
        (1, "alert", "sent", 100),
        (2, "hello", "", 7),
        (3, "alert", "next", 1),
    ]
    assert ledger.totals()["all"] == {"requests": 3, "up": 108, "down": 14}
    ledger.close()


@pytest.mark.parametrize("kind", [Spool, EgressLedger])
def test_a_file_of_a_newer_agent_is_refused_and_left_alone(tmp_path: Path, kind: type[Spool | EgressLedger]) -> None:
    path = tmp_path / "file.db"
    kind(path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=2")
    before = path.read_bytes()
    with pytest.raises(EdgeError, match="format 2, this one reads 1") as e:
        kind(path)
    assert e.value.code == "uplink.open"
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["file.db"]


def test_a_ledger_that_is_not_damaged_is_never_moved(tmp_path: Path) -> None:
    path = tmp_path / "egress.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE egress (of TEXT)")
    other.close()
    with pytest.raises(EdgeError, match=str(path)):
        EgressLedger(path)
    assert [p.name for p in tmp_path.iterdir()] == ["egress.db"]


def test_the_spool_forgets_old_ends_and_never_what_waits(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", remember=10)
    spool.add("waits", b"x")
    for n in range(50):
        spool.add(f"e{n}", b"x")
        spool.settle(f"e{n}", "delivered")
    assert [s.id for s in spool.settled()] == [f"e{n}" for n in range(40, 50)]
    waiting = spool.next()
    assert waiting is not None
    assert waiting.id == "waits"
    assert spool.add("e45", b"x") is not None
    spool.close()


def test_a_damaged_sink_file_says_how_to_repair_it(tmp_path: Path) -> None:
    path = tmp_path / "sink.json"
    assert load_sink(path) is None
    path.write_text("{")
    with pytest.raises(ConfigError) as e:
        load_sink(path)
    assert "sink connect" in e.value.hint


@given(st.binary(max_size=200), st.text(max_size=20), st.text(max_size=20))
def test_an_envelope_opens_for_its_own_topic_and_key_only(body: bytes, topic: str, other: str) -> None:
    digest = key_digest("esk_one")
    envelope = open_envelope(seal("id", digest, topic, body))
    check(envelope, digest, topic)
    assert envelope.body == body
    with pytest.raises(IdentityError):
        check(envelope, key_digest("esk_two"), topic)
    if other != topic:
        with pytest.raises(IdentityError):
            check(envelope, digest, other)


@given(st.one_of(st.binary(max_size=100), st.just(b"\x94\xa0\xc4\x00\xc4\x00" + b"\x91" * 9000)))
def test_garbage_is_no_envelope(raw: bytes) -> None:
    try:
        envelope = open_envelope(raw)
    except IdentityError:
        return
    with pytest.raises(IdentityError):
        check(envelope, key_digest("esk_one"), "t")
