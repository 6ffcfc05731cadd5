"""Accepted and refused requests, over real HTTPS."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from agent.blobs.hashing import hash_bytes
from agent.errors import EdgeError
from agent.model.alert import MAX_ALERT, StatusSummary
from agent.model.unixfs import cid_of
from cloud_sink.ingest.answers import TooMany
from cloud_sink.ingest.check import decode_alert, decode_hello, decode_status
from cloud_sink.settings import Limits
from tests.sink.running import Building, Caller, calling_sink, encode, jpeg


def said(answer: object) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")  # type: ignore[attr-defined]


def test_alert_sent_often_and_in_parallel_is_stored_once(sink: Caller, home: Building) -> None:
    body = encode(home.alert("parallel"))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: sink.post("/v1/alerts", body).json(), range(8)))
    assert sorted(a["stored"] for a in answers) == [False] * 7 + [True]


@pytest.mark.parametrize("key", ["esk_aaaaaaaa_" + "k" * 43, "hello", ""])
def test_request_without_a_valid_key_is_refused(sink: Caller, home: Building, key: str) -> None:
    answer = sink.post("/v1/alerts", encode(home.alert(1)), key or "-")
    assert said(answer) == (401, "sink.key")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_revoked_key_is_refused_at_once(sink: Caller) -> None:
    key = json.loads(sink.cli("key", "create", "Office", "--json"))
    building = Building("mesh-office")
    assert sink.post("/v1/alerts", encode(building.alert(1)), key["key"]).status_code == 200
    sink.cli("key", "revoke", key["id"])
    assert said(sink.post("/v1/alerts", encode(building.alert(2)), key["key"])) == (401, "sink.key")
    rows = json.loads(sink.cli("key", "list", "--json"))
    assert [bool(r["revoked"]) for r in rows if r["id"] == key["id"]] == [True]


def test_a_key_belongs_to_the_first_mesh_that_used_it(sink: Caller, home: Building) -> None:
    sink.post("/v1/alerts", encode(home.alert("first")))
    assert said(sink.post("/v1/alerts", encode(Building("mesh-other").alert(1)))) == (403, "sink.mesh")


def test_only_alerts_signed_by_the_meshs_nodes_are_accepted(sink: Caller) -> None:
    key = json.loads(sink.cli("key", "create", "Signed", "--json"))["key"]
    building, impostor = Building("mesh-signed"), Building("mesh-signed")
    hello = msgspec.msgpack.encode(building.hello)
    assert sink.post("/v1/hello", hello, key).json() == {"building": "Signed", "service": "edge-sink"}
    assert sink.post("/v1/alerts", encode(building.alert(1)), key).status_code == 200

    changed = building.alert(2)
    changed.event.data["labels"] = []
    another = building.alert(3)
    another.node = "node-gpu"
    unsigned = building.alert(4)
    unsigned.signature = b""
    for bad in (impostor.alert(5), changed, another, unsigned):
        assert said(sink.post("/v1/alerts", encode(bad), key)) == (422, "sink.signature")
    assert said(sink.post("/v1/hello", msgspec.msgpack.encode(impostor.hello), key)) == (403, "sink.mesh")


def test_photo_that_differs_from_the_signed_photo_is_refused(sink: Caller, home: Building) -> None:
    alert = home.alert("swapped")
    alert.photos[0].content = jpeg(320, 180)
    assert said(sink.post("/v1/alerts", encode(alert))) == (422, "sink.photo")


def bomb(width: int, height: int) -> bytes:
    """A PNG that announces this size and contains almost no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "photo",
    [b"GIF89a" + b"\0" * 50, jpeg()[:2000], bomb(30_000, 30_000), bomb(9_000, 9_000), b"\xff\xd8\xff\xe0", b"<svg/>"],
    ids=["gif", "cut", "bomb", "smaller-bomb", "start-only", "svg"],
)
def test_invalid_or_too_large_photo_is_refused(sink: Caller, home: Building, photo: bytes) -> None:
    assert said(sink.post("/v1/alerts", encode(home.alert(photo[:20].hex(), photo=photo)))) == (422, "sink.photo")


def test_photos_lose_exif_comment_and_trailing_data(sink: Caller, home: Building) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRET-CAMERA-MAKER"
    exif[0x0112] = 6
    photo = jpeg(640, 360, exif=exif.tobytes(), comment=b"SECRET-SERIAL-NUMBER") + b"SECRET-TAIL"
    assert sink.post("/v1/alerts", encode(home.alert("exif", photo=photo))).json()["stored"]
    kept = [p.read_bytes() for p in (sink.data / "photos").glob("??/*.jpg")]
    assert kept
    assert not any(b"SECRET" in content for content in kept)
    assert (360, 640) in {Image.open(io.BytesIO(content)).size for content in kept}, "turned as the EXIF said"


def test_each_limit_has_its_error_code(sink: Caller, home: Building) -> None:
    assert said(sink.post("/v1/alerts", b"\x80" * (MAX_ALERT + 1))) == (413, "sink.too-large")
    many = home.alert("many")
    many.photos *= 9
    assert said(sink.post("/v1/alerts", encode(many))) == (422, "sink.malformed")
    long = home.alert("long")
    long.event.data["x"] = "x" * 300_000
    assert said(sink.post("/v1/alerts", encode(long))) == (413, "sink.too-large")
    odd = home.alert("odd")
    odd.event.id = "a/b"
    assert said(sink.post("/v1/alerts", encode(odd))) == (422, "sink.malformed")
    nul = home.alert("nul")
    nul.event.data["camera"] = "a\0b"
    assert said(sink.post("/v1/alerts", encode(nul))) == (422, "sink.malformed")


def test_strange_but_well_formed_data_is_stored_and_shown(sink: Caller, home: Building) -> None:
    strange = {
        "labels": [
            7,
            {"name": "person"},
            {"name": 3},
            {"name": "x", "score": float("nan"), "box": [9, -9, 1e300, "a"]},
        ],
        "device": {"first_seen": 1e300, "name": "<script>alert(1)</script>"},
    }
    assert sink.post("/v1/alerts", encode(home.alert("strange", **strange))).status_code == 200


def test_valid_status_is_stored_and_an_invalid_status_refused(sink: Caller, home: Building) -> None:
    good = StatusSummary(mesh=home.mesh, node="ap", time="2026", nodes=[{"name": "ap", "alive": "true"}])
    assert sink.post("/v1/status", msgspec.msgpack.encode(good)).json() == {"stored": True}
    bad = StatusSummary(mesh=home.mesh, node="ap", time="x" * 99)
    assert said(sink.post("/v1/status", msgspec.msgpack.encode(bad))) == (422, "sink.malformed")


def test_retry_after_is_in_whole_seconds() -> None:
    assert [TooMany(wait).wait for wait in (1e-9, 1.0, 1.2)] == [1, 1, 2]


def test_metrics_count_and_health_answers(sink: Caller) -> None:
    assert sink.http.get("/healthz").text == "ok\n"
    assert 'edge_sink_alerts_total{result="stored"}' in sink.http.get("/metrics").text


def test_files_of_the_sink_are_private_and_secrets_not_logged(sink: Caller) -> None:
    for path in sink.data.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    log = sink.log.read_text()
    assert sink.key not in log
    assert "/login/" not in log
    assert sink.key.encode() not in (sink.data / "sink.db").read_bytes()


def test_photos_without_an_alert_are_removed_at_the_next_start(tmp_path: Path) -> None:
    building = Building()
    with calling_sink(tmp_path / "sink") as sink:
        sink.post("/v1/alerts", encode(building.alert(1)))
        stray = tmp_path / "sink" / "photos" / "ab" / ("ab" * 32 + ".jpg")
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(b"x")
        os.utime(stray, (0, 0))
    with calling_sink(tmp_path / "sink", "--keep", "1") as sink:
        for _ in range(1000):
            if not stray.exists():
                break
            sink.http.get("/healthz")
        assert not stray.exists()
        assert len(list((tmp_path / "sink" / "photos").glob("??/*.jpg"))) == 1
        with sqlite3.connect(tmp_path / "sink" / "sink.db") as db:
            assert db.execute("SELECT COUNT(*) FROM alerts").fetchone() == (1,)
        db.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300))
def test_decoders_refuse_any_invalid_bytes_with_an_edge_error(raw: bytes) -> None:
    codes: set[str] = set()
    for decode in (lambda b: decode_alert(b, Limits()), decode_status, decode_hello):
        try:
            decode(raw)
        except EdgeError as e:
            codes.add(e.code)
    assert codes <= {"sink.malformed", "sink.too-large"}


@pytest.mark.parametrize(
    ("data", "cid"),
    [
        (b"", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
        (b"hello world\n", "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"),
    ],
)
def test_cids_are_those_of_ipfs(data: bytes, cid: str) -> None:
    assert cid_of(data) == cid


@pytest.mark.parametrize("size", [256 * 1024, 256 * 1024 + 1, 3_000_000])
def test_cids_of_large_photos_are_those_of_the_blob_store(size: int) -> None:
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    assert cid_of(data) == hash_bytes(data).cid
