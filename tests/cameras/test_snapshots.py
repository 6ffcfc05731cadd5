"""HTTP snapshots: authentication, and cameras that send nonsense, nothing or too much."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from agent.cameras import CameraBook
from agent.cameras.jpeg import examine
from agent.errors import CameraError
from tests.cameras.conftest import picture
from tests.cameras.servers import URL_LOGIN, Snapshots, free_port, self_signed, snapshot_server

PICTURE = picture()


@pytest.fixture
def server() -> Iterator[Snapshots]:
    with snapshot_server(PICTURE) as running:
        yield running


@pytest.mark.parametrize("path", ["open", "basic", "digest", "stream", "open?user=u&pwd=s3cret"])
async def test_the_cameras_own_jpeg_comes_through_untouched(path: str, server: Snapshots, book: CameraBook) -> None:
    await book.add("cam", f"http://{URL_LOGIN}@{server.at}/{path}")
    photos = await book.shoot("cam", 2, 0.05)
    assert [(p.jpeg, p.width, p.height) for p in photos] == [(PICTURE, 320, 240)] * 2


@pytest.mark.parametrize("path", ["open", "stream"])
async def test_a_turned_camera_gives_turned_pictures(path: str, server: Snapshots, book: CameraBook) -> None:
    await book.add("cam", f"http://{server.at}/{path}", rotate=90)
    [photo] = await book.shoot("cam")
    assert (photo.width, photo.height) == (240, 320)


async def test_a_snapshot_may_be_a_png(server: Snapshots, book: CameraBook) -> None:
    server.picture = picture(kind="PNG")
    await book.add("cam", f"http://{server.at}/open")
    [photo] = await book.shoot("cam")
    assert photo.jpeg[:2] == b"\xff\xd8"
    assert (photo.width, photo.height) == (320, 240)


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("missing", "camera.not-found", "has no /missing"),
        ("basic", "camera.password", "refuses the user 'someone' or the password"),
        ("digest", "camera.password", "http://127.0.0.1:[0-9]+/digest"),
        ("unknown_digest", "camera.authentication", "Digest WHIRLPOOL auth"),
        ("forbidden", "camera.denied", "HTTP 403"),
        ("busy", "camera.busy", "HTTP 503"),
        ("elsewhere", "camera.redirect", r"http://192.0.2.7/open\?token=\*\*\*"),
        ("loop", "camera.redirect", "more than 5 times"),
        ("page", "camera.picture", "a page of text"),
        ("empty", "camera.picture", "sends nothing"),
        ("half", "camera.damaged", "more than 40% of it is missing"),
        ("short", "camera.damaged", "cut off"),
        ("junk", "camera.picture", "first 16 MiB hold no picture"),
        ("huge", "camera.too-large", "larger than 16 MiB"),
        ("odd_header", "camera.answer", "is not HTTP"),
        ("silent", "camera.timeout", "in time|within 1 s"),
        ("drip", "camera.timeout", "within 1 s"),
    ],
)
async def test_errors_are_named_in_time(path: str, code: str, says: str, server: Snapshots, book: CameraBook) -> None:
    await book.add("cam", f"http://someone:wr0ng@{server.at}/{path}?key=s3cret")
    started = time.monotonic()
    with pytest.raises(CameraError, match=says) as caught:
        await book.shoot("cam", deadline=1.0 if path in ("silent", "drip") else 20.0)
    assert time.monotonic() - started < 15
    assert caught.value.code == code
    assert caught.value.hint
    assert "wr0ng" not in str(caught.value.to_dict())
    assert "s3cret" not in str(caught.value.to_dict())


async def test_unknown_host_and_closed_port_have_their_own_codes(book: CameraBook) -> None:
    await book.add("lost", "http://camera.invalid/x")
    await book.add("closed", f"http://127.0.0.1:{free_port()}/x")
    for name, code in [("lost", "camera.unknown-host"), ("closed", "camera.refused")]:
        with pytest.raises(CameraError) as caught:
            await book.shoot(name)
        assert caught.value.code == code


async def test_addresses_that_the_library_refuses_have_their_code(server: Snapshots, book: CameraBook) -> None:
    await book.add("own", "http://xn--/x")
    await book.add("redirect", f"http://{server.at}/raw")
    for name, location in [("own", ""), ("redirect", "http://xn--/x"), ("redirect", "http://127.0.0.1:99999/x")]:
        server.raw = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location.encode() + b"\r\n\r\n"
        with pytest.raises(CameraError) as caught:
            await book.shoot(name)
        assert caught.value.code in ("camera.address", "camera.redirect")


CHALLENGES = {
    "md5": ['Digest realm="cam", nonce="n1", qop="auth"'],
    "session": ['Digest realm="cam", nonce="n1", qop="auth", algorithm=MD5-sess'],
    "sha256": ['Digest realm="cam", nonce="n1", qop="auth", algorithm=SHA-256'],
    "sha512256": ['Digest realm="cam", nonce="n1", qop="auth", algorithm=SHA-512-256, opaque="o"'],
    "integrity": ['Digest realm="cam", nonce="n1", qop="auth-int"'],
    "either": ['Digest realm="cam", nonce="n1", qop="auth-int,auth"'],
    "old": ['Digest realm="cam", nonce="n1"'],
    "comma": ['Digest realm="cam,door \\"1\\"", nonce="n1", qop="auth"'],
    "two-headers": ['Digest realm="a", nonce="n0", algorithm=WHIRLPOOL', 'Digest realm="cam", nonce="n1", qop="auth"'],
    "one-header": ['NTLM, Basic realm="b", Digest realm="cam", nonce="n1", qop="auth", algorithm=SHA-256'],
    "utf-8": ['Digest realm="B\xc3\xbcro", nonce="n1", qop="auth"'],
    "latin-1": ['Digest realm="B\xfcro", nonce="n1", qop="auth"'],
    "basic": ['Basic realm="cam", charset="UTF-8"'],
    "basic-behind-unknown": ['Digest realm="a", nonce="n0", algorithm=WHIRLPOOL', 'Basic realm="cam"'],
}


@pytest.mark.parametrize("challenges", CHALLENGES.values(), ids=CHALLENGES)
async def test_every_challenge_of_the_standards_is_answered(
    challenges: list[str], server: Snapshots, book: CameraBook
) -> None:
    server.challenges = challenges
    await book.add("cam", f"http://{URL_LOGIN}@{server.at}/challenge")
    assert [p.jpeg for p in await book.shoot("cam", 2)] == [PICTURE] * 2
    assert len(server.requests) == 3


async def test_a_connection_that_ends_after_a_refusal_is_replaced(server: Snapshots, book: CameraBook) -> None:
    await book.add("cam", f"http://{URL_LOGIN}@{server.at}/hangup")
    assert [p.jpeg for p in await book.shoot("cam")] == [PICTURE]


async def test_an_unknown_login_of_odd_bytes_is_named(server: Snapshots, book: CameraBook) -> None:
    server.raw = b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest nonce="n", algorithm=B\xfc\r\nContent-Length: 0\r\n\r\n'
    await book.add("cam", f"http://{URL_LOGIN}@{server.at}/raw")
    with pytest.raises(CameraError, match="by Digest B") as caught:
        await book.shoot("cam")
    assert caught.value.message.encode()


async def test_an_old_nonce_is_replaced(server: Snapshots, book: CameraBook) -> None:
    server.challenges = CHALLENGES["md5"]
    await book.add("cam", f"http://{URL_LOGIN}@{server.at}/challenge", warm=True)
    await book.shoot("cam")
    server.challenges = ['Digest realm="cam", nonce="n2", qop="auth", stale=true']
    assert len(await book.shoot("cam")) == 1
    assert len(server.requests) == 4


@pytest.mark.parametrize("path", ["redirect", "absolute"])
async def test_a_redirect_on_the_same_host_is_followed_with_the_login(
    path: str, server: Snapshots, book: CameraBook
) -> None:
    await book.add("cam", f"http://{URL_LOGIN}@{server.at}/{path}")
    assert [p.jpeg for p in await book.shoot("cam")] == [PICTURE]


async def test_a_redirect_to_another_host_gets_no_login(server: Snapshots, book: CameraBook) -> None:
    with snapshot_server(PICTURE) as other:
        server.elsewhere = other.at.replace("127.0.0.1", "localhost")
        await book.add("cam", f"http://{URL_LOGIN}@{server.at}/elsewhere")
        with pytest.raises(CameraError, match="redirects to http://localhost"):
            await book.shoot("cam")
        assert other.requests == []


def saved(mode: str) -> bytes:
    out = BytesIO()
    Image.effect_noise((320, 240), 90).convert(mode).save(out, "JPEG", quality=90)
    return out.getvalue()


NOISE = saved("RGB")


@pytest.mark.parametrize(
    "body", [NOISE[:-2], NOISE[: len(NOISE) * 3 // 4], saved("CMYK")], ids=["no end", "three quarters", "cmyk"]
)
async def test_pictures_are_repaired_as_far_as_a_decoder_can(body: bytes, server: Snapshots, book: CameraBook) -> None:
    server.picture = body
    await book.add("cam", f"http://{server.at}/open")
    [photo] = await book.shoot("cam")
    assert examine(photo.jpeg) == (320, 240, 0, True)
    assert Image.open(BytesIO(photo.jpeg)).mode == "RGB"


@pytest.mark.parametrize("path", ["leading", "trailing", "long", "no_length", "chunked", "endless", "octets", "single"])
async def test_a_whole_picture_comes_through_whatever_is_around_it(
    path: str, server: Snapshots, book: CameraBook
) -> None:
    await book.add("cam", f"http://{server.at}/{path}")
    photos = await book.shoot("cam", 2)
    assert [p.jpeg[: len(PICTURE)] for p in photos] == [PICTURE] * 2


async def test_a_stream_without_end_markers_gives_whole_pictures(server: Snapshots, book: CameraBook) -> None:
    server.picture = NOISE
    await book.add("cam", f"http://{server.at}/without_ends")
    assert [examine(p.jpeg) for p in await book.shoot("cam", 2)] == [(320, 240, 0, True)] * 2


async def test_damaged_pictures_of_a_stream_are_skipped(server: Snapshots, book: CameraBook) -> None:
    await book.add("cam", f"http://{server.at}/every_second_cut")
    assert [p.jpeg for p in await book.shoot("cam", 3)] == [PICTURE] * 3


async def test_a_snapshot_camera_is_asked_once_for_each_photo(server: Snapshots, book: CameraBook) -> None:
    await book.add("cam", f"http://{server.at}/open")
    await book.shoot("cam", 3)
    assert len(server.requests) == 3


async def test_a_self_signed_certificate_needs_an_insecure_camera(tmp_path: Path, book: CameraBook) -> None:
    with snapshot_server(PICTURE, self_signed(tmp_path)) as server:
        await book.add("cam", f"https://{server.at}/open")
        with pytest.raises(CameraError, match="self-signed") as caught:
            await book.shoot("cam")
        assert caught.value.code == "camera.certificate"
        assert "--insecure" in caught.value.hint
        await book.add("cam", f"https://{server.at}/open", insecure=True, replace=True)
        assert [p.jpeg for p in await book.shoot("cam")] == [PICTURE]


def answer(body: bytes, *more: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *more, "", ""]).encode() + body


async def test_compressed_pictures_are_decompressed_in_pieces(server: Snapshots, book: CameraBook) -> None:
    for body, encoding in [
        (gzip.compress(PICTURE), "gzip"),
        (zlib.compress(PICTURE), "deflate"),
        (zlib.compress(PICTURE, wbits=-15), "deflate"),
        (PICTURE, "gzip"),
    ]:
        server.raw = answer(body, f"Content-Encoding: {encoding}", f"Content-Length: {len(body)}")
        await book.add("cam", f"http://{server.at}/raw", replace=True)
        assert [p.jpeg for p in await book.shoot("cam")] == [PICTURE]


BOMB = gzip.compress(PICTURE[:-2] + bytes(64 << 20))


@pytest.mark.parametrize(
    ("body", "encoding", "code"),
    [
        (BOMB, "gzip", "camera.too-large"),
        (gzip.compress(BOMB), "gzip, gzip", "camera.picture"),
        (b"BM" + bytes(64 << 20), "identity", "camera.too-large"),
    ],
    ids=["bomb", "bomb in a bomb", "no JPEG"],
)
async def test_a_picture_without_end_costs_bounded_memory(
    body: bytes, encoding: str, code: str, server: Snapshots, book: CameraBook
) -> None:
    server.raw = answer(body, f"Content-Encoding: {encoding}")
    await book.add("cam", f"http://{server.at}/raw")
    tracemalloc.start()
    try:
        with pytest.raises(CameraError) as caught:
            await book.shoot("cam")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.code == code
    assert peak < 40 << 20


async def test_a_picture_of_too_many_pixels_has_its_own_code(server: Snapshots, book: CameraBook) -> None:
    png = BytesIO()
    Image.new("1", (9000, 9000)).save(png, "PNG")
    at = PICTURE.index(b"\xff\xc0")
    for body in (png.getvalue(), PICTURE[: at + 5] + b"\xff\xff\xff\xff" + PICTURE[at + 9 :]):
        server.picture = body
        await book.add("cam", f"http://{server.at}/open", replace=True)
        with pytest.raises(CameraError, match="50 million pixels") as caught:
            await book.shoot("cam")
        assert caught.value.code == "camera.too-large"


@pytest.mark.parametrize("marker", [b"\xff\xc1\x00\x11\x0c", b"\xff\xc3\x00\x11\x08", b"\xff\xc0\x00\x11\x08\x00\x00"])
async def test_a_kind_of_jpeg_that_nothing_decodes_is_no_damage(
    marker: bytes, server: Snapshots, book: CameraBook
) -> None:
    at = PICTURE.index(b"\xff\xc0")
    server.picture = PICTURE[:at] + marker + PICTURE[at + len(marker) :]
    for path in ("open", "stream"):
        await book.add("cam", f"http://{server.at}/{path}", replace=True)
        with pytest.raises(CameraError, match="cannot be") as caught:
            await book.shoot("cam")
        assert caught.value.code == "camera.picture"


async def test_an_error_quotes_little_of_an_answer(server: Snapshots, book: CameraBook) -> None:
    server.raw = b"\xff" * 60000 + b"\r\n\r\n"
    await book.add("cam", f"http://{server.at}/raw")
    with pytest.raises(CameraError, match="is not HTTP") as caught:
        await book.shoot("cam")
    assert len(caught.value.message) < 200
