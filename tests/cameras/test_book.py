"""The book of cameras: its checks, the masking of credentials, and its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cameras import CameraBook
from agent.cameras.spec import masked, normal_source
from agent.errors import CameraError, ConfigError, NotFound


async def test_cameras_survive_a_restart_in_a_file_of_mode_0600(tmp_path: Path, book: CameraBook) -> None:
    await book.add("hall", "rtsp://u:secret@10.0.0.7/live", rotate=90, masks=[[0, 0, 0.5, 0.5]], warm=True)
    await book.add("door", "v4l2:/dev/video0", crop=[0.1, 0.1, 0.9, 0.9], insecure=True)
    await book.add("gone", "/dev/video1")
    await book.remove("gone")
    path = tmp_path / "state" / "cameras.yaml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["cameras.yaml"]
    again = CameraBook(path)
    assert again.list() == book.list()
    assert [(i.name, i.kind, i.ok) for i in again.infos()] == [("hall", "rtsp", True), ("door", "v4l2", True)]


async def test_a_book_that_others_could_read_is_closed_to_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text("cameras:\n  hall: {source: /dev/video0}\n")
    path.chmod(0o644)
    assert list(CameraBook(path).list()) == ["hall"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert "readable by others" in caplog.text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cameras: [", ":1: "),
        ("cameras:\n  a: b\n", ":2: camera a must be a mapping"),
        ("cameras:\n  hall:\n    sorce: /dev/video0\n", "there is no key 'sorce'"),
        ("cameras:\n  hall: {rotate: 90}\n", "source"),
        ("cameras:\n  hall: {source: 7}\n", "source"),
        ("cameras:\n  hall: {source: /dev/video0, rotate: 45}\n", "rotate"),
        ("cameras:\n  hall: {source: /dev/video0, crop: [0, 0, 2, 1]}\n", "crop"),
        ("cameras:\n  hall: {source: /dev/video0, crop: [0.5, 0, 0.6, 1]}\n", "leaves the picture"),
        ("cameras:\n  hall: {source: /dev/video0, masks: [[0, 0, 0, 1]]}\n", "empty"),
        ("cameras:\n  'a b': {source: /dev/video0}\n", "is not a valid camera name"),
        ("cameras:\n  hall: {source: 'ftp://u:secret@h/x'}\n", "is not a camera's source"),
        ("hall: {source: /dev/video0}\n", "one mapping"),
        ("- 1\n", "one mapping"),
        ("cameras: \xff", "one mapping"),
    ],
)
def test_a_damaged_book_says_where_and_never_shows_a_password(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        CameraBook(path)
    assert says in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert "secret" not in str(caught.value.to_dict())


@pytest.mark.parametrize(
    "source",
    [
        "", "video0", "/dev/sda", "/dev/video0/../sda", "/etc/passwd", "file:", "rtsp://", "http://", "http:///x", "ftp://h/x",
        "http://h:99999999/x", "rtsp://h/a b", "http://h/\nx", "http://[::1", "concat:a|b", "rtmp://h/x",
    ],
)  # fmt: skip
async def test_invalid_source_is_refused(source: str, book: CameraBook) -> None:
    with pytest.raises(ConfigError):
        await book.add("cam", source)
    assert book.list() == {}


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://10.0.0.7/live", "rtsp://10.0.0.7/live"),
        ("rtsp://user:secret@10.0.0.7:554/live", "rtsp://user:***@10.0.0.7:554/live"),
        ("rtsp://token@10.0.0.7/live", "rtsp://***@10.0.0.7/live"),
        ("rtsp://user:se/cret@10.0.0.7/live", "rtsp://***@10.0.0.7/live"),
        ("rtsp://user:se@cret@10.0.0.7/live", "rtsp://***@10.0.0.7/live"),
        ("http://h/snap.cgi?usr=admin&pwd=secret", "http://h/snap.cgi?usr=***&pwd=***"),
        ("http://h/snap?secret", "http://h/snap?***"),
        ("rtsp://h/user=admin&password=secret&channel=1", "rtsp://h/user=***&password=***&channel=1"),
        ("rtsp://h/user=admin_password=secret_channel=1", "rtsp://h/user=***"),
        ("rtsp://h/stream=0_password=secret", "rtsp://h/stream=0_password=***"),
        ("rtsp://h/live/admin:secret/ch1", "rtsp://h/live/admin:***/ch1"),
        ("rtsp://h/a@b?token=secret", "rtsp://***@b?token=***"),
        ("http://h:80?usr=admin&pwd=secret", "http://h:80?usr=***&pwd=***"),
        ("http://h/x#secret", "http://h/x#***"),
        ("user:secret@10.0.0.7/live", "user:***@10.0.0.7/live"),
        ("rtsp:/user:secret@10.0.0.7/live", "***@10.0.0.7/live"),
        ("http:/10.0.0.7/x?secret", "http:/10.0.0.7/x?***"),
        ("video0", "video0"),
        ("file:/srv/a@b", "file:/srv/a@b"),
        ("/dev/video0", "/dev/video0"),
        ("file:/srv/pictures", "file:/srv/pictures"),
    ],
)
def test_credentials_are_masked(source: str, shown: str) -> None:
    assert masked(source) == shown


async def test_a_source_that_is_refused_hides_its_password(book: CameraBook) -> None:
    for source in ("u:s3cret@10.0.0.7/x", "rtsp:/u:s3cret@cam/x", "rtsp//u:s3cret@cam:554/x", "onvif://u:s3cret@cam"):
        with pytest.raises(ConfigError, match="not a camera's source") as caught:
            await book.add("cam", source)
        assert "s3cret" not in str(caught.value.to_dict())


async def test_a_camera_in_a_log_or_an_error_hides_its_credentials(book: CameraBook) -> None:
    camera = await book.add("hall", "http://u:secret@10.0.0.7/x")
    assert "secret" not in f"{camera} {camera!r} {book.list()}"
    assert camera.shown == "http://u:***@10.0.0.7/x"


async def test_sources_have_one_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert normal_source("v4l2:/dev/video2") == "/dev/video2"
    assert normal_source("file:pictures") == f"file:{tmp_path}/pictures"
    assert normal_source("file:///srv/x") == "file:/srv/x"
    assert normal_source("file://localhost/srv/x") == "file:/srv/x"
    assert normal_source(" http://h/x ") == "http://h/x"
    assert normal_source("RTSP://H/Live") == "rtsp://H/Live"
    assert normal_source("File:/srv/X") == "file:/srv/X"
    assert normal_source("rtsp://u:p@[fe80::1%25eth0]:554/x") == "rtsp://u:p@[fe80::1%eth0]:554/x"


async def test_names_options_and_shots_are_checked(book: CameraBook) -> None:
    with pytest.raises(ConfigError):
        await book.add("a/b", "/dev/video0")
    with pytest.raises(ConfigError):
        await book.add("a", "/dev/video0", rotate=33)
    with pytest.raises(ConfigError):
        await book.add("a", "/dev/video0", colour="red")
    with pytest.raises(ConfigError, match=r"no label fits between an area of 0\.5 and one of 0\.1"):
        await book.add("a", "/dev/video0", min_area=0.5, max_area=0.1)
    await book.add("hall", "/dev/video0")
    with pytest.raises(NotFound, match="no camera 'hal'") as caught:
        await book.shoot("hal")
    assert "hall" in caught.value.hint
    with pytest.raises(ConfigError):
        await book.shoot("hall", 0)
    with pytest.raises(NotFound):
        await book.remove("door")


async def test_a_missing_device_is_an_error_and_a_health_report(book: CameraBook) -> None:
    reports: list[tuple[str, str]] = []
    book.on_health = lambda name, error: reports.append((name, error.message if error else ""))
    await book.add("cam", "/dev/video99")
    with pytest.raises(CameraError, match="camera cam: there is no /dev/video99"):
        await book.test("cam")
    assert reports == [("cam", "camera cam: there is no /dev/video99")]
    assert book.error("cam") == reports[0][1]
    assert not book.infos()[0].ok


async def test_a_device_that_is_no_camera_is_an_error(tmp_path: Path, book: CameraBook) -> None:
    """Through the same child and capture code as a real one: there is no video device where tests run."""
    from agent.cameras.capture import CaptureSession
    from agent.cameras.spec import View

    session = CaptureSession("/dev/null", View())
    try:
        with pytest.raises(CameraError, match="cannot be opened"):
            await session.open(5.0)
    finally:
        await session.close()


@pytest.mark.parametrize(
    ("login", "says"),
    [
        ("user:p@ss/word", "/ as %2F, @ as %40: rtsp://user:***@10.0.0.7:554/"),
        ("user:pa/ss", "/ as %2F"),
        ("user:12/ss", "/ as %2F"),
        ("user:p#x", "# as %23"),
        ("user:p?x", "? as %3F"),
        ("user:p%zz", "% as %25"),
        ("user:/word", "/ as %2F"),
        ("user:#word", "# as %23"),
        ("user:pa ss", "a space as %20"),
        ("user:pä", "ä as %C3%A4"),
        ("me@home:x", "@ as %40: rtsp://me%40home:***@10.0.0.7:554/"),
    ],
)
async def test_login_that_needs_encoding_is_refused_with_the_way(login: str, says: str, book: CameraBook) -> None:
    with pytest.raises(ConfigError) as caught:
        await book.add("cam", f"rtsp://{login}@10.0.0.7:554/live")
    assert caught.value.code == "camera.address"
    assert says in caught.value.hint
    password = login.partition(":")[2]
    assert len(password) < 3 or password not in str(caught.value.to_dict())


@pytest.mark.parametrize(
    "source",
    ["rtsp://u:p%40ss@cam/live", "rtsp://u:p:q@cam/live", "rtsp://10.0.0.7/name@2", "http://cam:80/x?m=a@b.de", "rtsp://u:p@[::1]/x"],
)  # fmt: skip
async def test_addresses_that_are_right_are_taken(source: str, book: CameraBook) -> None:
    assert (await book.add("cam", source)).source == source


async def test_a_name_is_given_twice_only_by_choice(book: CameraBook) -> None:
    await book.add("cam", "/dev/video0")
    with pytest.raises(ConfigError, match="already") as caught:
        await book.add("cam", "/dev/video1")
    assert caught.value.code == "camera.exists"
    await book.add("cam", "/dev/video1", replace=True)
    assert book.get("cam").source == "/dev/video1"


async def test_a_camera_has_not_worked_before_its_first_picture(pictures: Path, book: CameraBook) -> None:
    await book.add("cam", f"file:{pictures}")
    assert [(i.ok, i.worked) for i in book.infos()] == [(True, False)]
    await book.shoot("cam")
    assert [(i.ok, i.worked) for i in book.infos()] == [(True, True)]
    await book.add("cam", "file:/nowhere.jpg", replace=True)
    with pytest.raises(CameraError):
        await book.shoot("cam")
    assert [(i.ok, i.worked) for i in book.infos()] == [(False, False)]


async def test_an_unexpected_error_is_one_cameras_error(
    pictures: Path, book: CameraBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent.cameras.pictures import StillSession

    async def broken(self: StillSession, timeout: float) -> None:
        raise KeyError("s3cret")

    await book.add("cam", f"file:{pictures}")
    monkeypatch.setattr(StillSession, "frame", broken)
    with pytest.raises(CameraError, match="camera cam: an unexpected error: KeyError") as caught:
        await book.shoot("cam")
    assert caught.value.code == "camera.unexpected"
    monkeypatch.undo()
    assert len(await book.shoot("cam")) == 1
