"""RTSP as cameras have it: logins, transports, late key frames, losses; and the cause of each error."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.cameras import CameraBook
from agent.cameras.losses import FORGET, GAP_PATIENCE, REORDER, Losses
from agent.errors import CameraError
from tests.cameras.rtsp_camera import RtspCamera, rtsp_camera
from tests.cameras.servers import URL_LOGIN, free_port, self_signed

DEADLINE = 8.0


async def error_of(book: CameraBook, source: str, deadline: float = DEADLINE, **options: object) -> CameraError:
    await book.add("cam", source, replace=True, **options)
    with pytest.raises(CameraError) as caught:
        await book.shoot("cam", deadline=deadline)
    assert "p@ss" not in str(caught.value.to_dict())
    assert "p%40ss" not in str(caught.value.to_dict())
    return caught.value


def url(camera: RtspCamera, login: str = URL_LOGIN, path: str = "live", scheme: str = "rtsp") -> str:
    return f"{scheme}://{login}@127.0.0.1:{camera.port}/{path}"


@pytest.mark.parametrize("codec", ["h264", "h265"])
async def test_late_parameters_cost_one_key_frame(codec: str, book: CameraBook) -> None:
    async with rtsp_camera(codec=codec, parameters=False, keyframe=30) as camera:
        sent: set[int] = set()

        def second_key_frame(n: int) -> bool:
            if not camera.played or camera.frames % 30:
                return False
            sent.add(camera.frames)
            return camera.frames > min(sent)

        camera.lost = second_key_frame
        await book.add("cam", url(camera))
        [photo] = await book.shoot("cam", deadline=DEADLINE)
    assert (photo.width, photo.height) == (320, 240)


async def test_a_camera_without_tcp_is_read_over_udp(book: CameraBook) -> None:
    async with rtsp_camera(transports=("udp",)) as camera:
        await book.add("cam", url(camera))
        assert len(await book.shoot("cam", 2, 0.1, deadline=DEADLINE)) == 2
    assert [r for r in camera.requests if r.startswith("SETUP")] == ["SETUP tcp", "SETUP udp"]


@pytest.mark.parametrize(
    "challenge",
    [
        'Basic realm="cam"',
        'Digest realm="cam", nonce="n1"',
        'Digest realm="cam", nonce="n1", qop="auth", algorithm=MD5',
        'Digest realm="cam", nonce="n1", qop="auth", algorithm=SHA-256',
        'Digest realm="cam", nonce="n1", qop="auth-int"',
        'Digest realm="B\xc3\xbcro", nonce="n1"',
        'Digest realm="B\xfcro", nonce="n1", qop="auth", algorithm=SHA-256',
    ],
)
async def test_logins_work_also_where_ffmpeg_does_not_know_them(challenge: str, book: CameraBook) -> None:
    async with rtsp_camera(challenges=(challenge,)) as camera:
        await book.add("cam", url(camera))
        for _ in range(2):  # a camera that has worked is opened without a question before
            assert len(await book.shoot("cam", 2, deadline=DEADLINE)) == 2


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_rtsp_redirect_on_the_host_is_followed_with_the_login(algorithm: str, book: CameraBook) -> None:
    challenge = f'Digest realm="cam", nonce="n1", qop="auth", algorithm={algorithm}'
    async with rtsp_camera(challenges=(challenge,)) as camera:
        camera.redirect = f"rtsp://127.0.0.1:{camera.port}/moved"
        await book.add("cam", url(camera))
        assert len(await book.shoot("cam", deadline=DEADLINE)) == 1


async def test_login_over_tls_that_ffmpeg_does_not_know_works(tmp_path: Path, book: CameraBook) -> None:
    challenges = ('Digest realm="cam", nonce="n1", algorithm=SHA-512-256',)
    async with rtsp_camera(challenges=challenges, tls=self_signed(tmp_path)) as camera:
        await book.add("cam", url(camera, scheme="rtsps"), insecure=True)
        assert len(await book.shoot("cam", deadline=DEADLINE)) == 1


CAUSES = {
    "no login": ({"challenges": ('Basic realm="c"',)}, "", "camera.password", "asks for a user"),
    "wrong": ({"challenges": ('Digest realm="c", nonce="n"',)}, "viewer:wrong", "camera.password", "refuses the user"),
    "no path": ({"statuses": {"DESCRIBE": "404 Not Found"}}, "", "camera.not-found", "has no /live"),
    "forbidden": ({"statuses": {"DESCRIBE": "403 Forbidden"}}, "", "camera.denied", "RTSP 403"),
    "busy": ({"statuses": {"DESCRIBE": "453 Not Enough Bandwidth"}}, "", "camera.busy", "RTSP 453"),
    "odd": ({"statuses": {"DESCRIBE": "551 Option not supported"}}, "", "camera.answer", "RTSP 551"),
    "no transport": ({"transports": ()}, "", "camera.transport", "neither over TCP nor over UDP"),
    "viewers": ({"statuses": {"SETUP": "453 Not Enough Bandwidth"}}, "", "camera.busy", "SETUP with RTSP 453"),
    "session": ({"statuses": {"PLAY": "454 Session Not Found"}}, "", "camera.answer", "PLAY with RTSP 454"),
    "elsewhere": ({"redirect": "rtsp://127.0.0.2/x?pw=s3cret"}, "", "camera.redirect", "rtsp://127.0.0.2/x?pw=***"),
    "web": ({"redirect": "http://127.0.0.1/x"}, "", "camera.redirect", "http://127.0.0.1/x"),
    "loop": ({"redirect": "/live"}, "", "camera.redirect", "more than 5 times"),
    "invalid": ({"redirect": "rtsp://[::1/x"}, "", "camera.redirect", "an invalid address"),
    "blocked": ({"transports": ("udp",), "stalls": "RTP"}, "", "camera.transport", "over UDP alone"),
    "stalls later": ({"stalls": "SETUP"}, "", "camera.timeout", "stops answering"),
    "stalls": ({"stalls": "DESCRIBE"}, "", "camera.timeout", "does not answer in time"),
    "no pictures": ({"stalls": "RTP"}, "", "camera.timeout", "within"),
}


@pytest.mark.parametrize(("options", "login", "code", "says"), CAUSES.values(), ids=CAUSES)
async def test_each_cause_has_its_code(
    options: dict[str, object], login: str, code: str, says: str, book: CameraBook
) -> None:
    async with rtsp_camera(source=False, **options) as camera:
        error = await error_of(book, url(camera, login).replace("//@", "//"), 2.5)
    assert (error.code, says in error.message) == (code, True), error.message
    assert error.hint


async def test_addresses_that_lead_nowhere_have_their_codes(tmp_path: Path, book: CameraBook) -> None:
    assert (await error_of(book, "rtsp://camera.invalid/live")).code == "camera.unknown-host"
    assert (await error_of(book, f"rtsp://127.0.0.1:{free_port()}/live")).code == "camera.refused"


async def test_a_certificate_is_checked_unless_the_camera_is_insecure(tmp_path: Path, book: CameraBook) -> None:
    async with rtsp_camera(tls=self_signed(tmp_path)) as camera:
        error = await error_of(book, url(camera, scheme="rtsps"))
        assert error.code == "camera.certificate"
        assert "--insecure" in error.hint
        await book.add("cam", url(camera, scheme="rtsps"), insecure=True, replace=True)
        assert len(await book.shoot("cam", deadline=DEADLINE)) == 1


async def test_a_picture_is_not_taken_from_a_damaged_stream(book: CameraBook) -> None:
    async with rtsp_camera(keyframe=60) as camera:
        await book.add("cam", url(camera), warm=True)
        await book.shoot("cam", deadline=DEADLINE)  # of a key frame: the next one comes 2.4 s later
        lost_from = camera.packets + 1
        camera.lost = lambda n: lost_from <= n < lost_from + 6
        while camera.packets < lost_from + 12:
            await asyncio.sleep(0.01)
        with pytest.raises(CameraError) as caught:
            await book.shoot("cam", deadline=1.0)
    assert caught.value.code == "camera.damaged"


async def test_the_next_key_frame_ends_the_damage(book: CameraBook) -> None:
    async with rtsp_camera(keyframe=25) as camera:
        await book.add("cam", url(camera), warm=True)
        await book.shoot("cam", deadline=DEADLINE)
        lost_from = camera.packets + 5
        camera.lost = lambda n: lost_from <= n < lost_from + 6
        assert len(await book.shoot("cam", 10, 0.1, deadline=DEADLINE)) == 10


def damage(*frames: tuple[bytes, str, float]) -> list[bool]:
    losses, found = Losses(), []
    for messages, kind, at in frames:
        losses.frame(messages, ord(kind), at)
        found.append(losses.damaged)
    return found


GAP, LOST = b"[OPENCV:FFMPEG:48] Frame num gap 3 1", b"RTP: missed 2 packets"


def test_pictures_are_damaged_from_a_loss_to_the_next_key_frame() -> None:
    assert damage((b"", "I", 0), (LOST, "P", 1), (b"", "P", 2), (b"", "I", 3), (b"", "P", 4)) == [0, 1, 1, 0, 0]
    assert damage((b"", "I", 0), (GAP, "P", 1), (LOST, "I", 2), (b"", "I", 3)) == [0, 1, 1, 0]


def test_a_loss_before_a_key_frame_does_it_no_harm() -> None:
    for key in (b"nal_unit_type: 5(IDR), nal_ref_idc: 3", b"nal_unit_type: 21(CRA_NUT), nuh_layer_id: 0"):
        assert damage((LOST + b"\n" + key, "I", 0), (b"", "P", 1)) == [0, 0]
        assert damage((LOST, "I", 0), (b"", "P", 1)) == [0, 0]
        assert damage((key + b"\n" + LOST, "I", 0), (b"", "P", 1)) == [1, 1]


def test_key_frame_decoded_before_the_loss_ends_nothing() -> None:
    frames = [(b"", "B", 0.0), (LOST, "P", 1.0), *[(b"", "I", 2.0)] * REORDER]
    assert damage(*frames) == [0, 1, *[1] * (REORDER - 1), 0]


def test_a_camera_that_always_numbers_with_gaps_is_good() -> None:
    assert damage((GAP, "P", 0), (GAP, "P", 1), (GAP, "P", GAP_PATIENCE + 1), (GAP, "P", 9)) == [1, 1, 0, 0]
    assert damage((GAP, "P", 0), (LOST, "P", 1), (GAP, "P", GAP_PATIENCE + 1)) == [1, 1, 1]


def test_a_stream_without_key_frames_recovers_in_time() -> None:
    assert damage((LOST, "P", 0), (b"", "P", FORGET - 1), (b"", "P", FORGET + 1)) == [1, 1, 0]
