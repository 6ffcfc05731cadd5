"""Archives of images, good and hostile: only the image that was asked for comes through."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import BlobError
from agent.executors.docker import archive
from agent.executors.docker.archive import members, only_image

LAYERS = [b"first layer" * 99, b"second", b"first layer" * 99]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


CONFIG = json.dumps(
    {"architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest(b) for b in LAYERS]}}
).encode()
IMAGE = digest(CONFIG)
NAMES = ["a/layer.tar", "b/layer.tar", "c/layer.tar"]
MANIFEST: list[dict[str, Any]] = [{"Config": "config", "RepoTags": None, "Layers": NAMES}]


def tar(files: dict[str, bytes | str], form: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar of files; a text is the target of a symbolic link."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as out:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                out.addfile(entry)
            else:
                entry.size = len(content)
                out.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def saved(manifest: Any = MANIFEST, config: bytes = CONFIG, **more: bytes | str) -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = dict(zip(NAMES, LAYERS, strict=True))
    return files | {"config": config, "manifest.json": json.dumps(manifest).encode(), **more}


def read(raw: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as made:
        return {m.name: made.extractfile(m).read() for m in made.getmembers()}  # type: ignore[union-attr]


def through(raw: bytes) -> dict[str, bytes]:
    return read(b"".join(only_image(io.BytesIO(raw), IMAGE)))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_configuration_and_layers_come_through_without_names(form: int) -> None:
    made = through(tar(saved(), form))
    (entry,) = json.loads(made["manifest.json"])
    assert made[entry["Config"]] == CONFIG
    assert [made[name] for name in entry["Layers"]] == LAYERS
    assert entry["RepoTags"] is None
    assert len(made) == 4  # the layer that is there twice is sent once


def test_names_and_other_files_of_an_archive_are_left_out() -> None:
    named = [{**MANIFEST[0], "RepoTags": ["edge/base:latest"]}]
    other = {"repositories": b'{"edge/base": {"latest": "a"}}', "index.json": b"{}", "z/layer.tar": b"evil"}
    made = through(tar({**saved(named), **other}))
    assert sorted(made) == ["0.tar", "1.tar", "config.json", "manifest.json"]
    assert b"edge/base" not in b"".join(made.values())


def test_a_layer_may_be_a_link_to_another() -> None:
    files = saved()
    files["c/layer.tar"] = "../a/layer.tar"
    assert through(tar(files))["0.tar"] == LAYERS[0]


CASES: dict[str, tuple[dict[str, bytes | str], str]] = {
    "two images": (saved([*MANIFEST, *MANIFEST]), "2 images"),
    "no image": (saved([]), "0 images"),
    "another image": (saved(config=CONFIG + b" "), "is not sha256:"),
    "no manifest": ({"config": CONFIG}, "missing"),
    "manifest without layers": (saved([{"Config": "config"}]), "cannot be read"),
    "manifest of another form": (saved({"a": 1}), "cannot be read"),
    "fewer layers": (saved([{**MANIFEST[0], "Layers": NAMES[:1]}]), "1 layers where 3"),
    "layers outside": (saved([{**MANIFEST[0], "Layers": ["../../etc/shadow"] * 3}]), "missing"),
    "links to links": (saved() | {"a/layer.tar": "../b/layer.tar", "b/layer.tar": "../a/layer.tar"}, "missing"),
    "configuration outside": (saved([{**MANIFEST[0], "Config": "/etc/passwd"}]), "missing"),
    "too many layers": (saved([{**MANIFEST[0], "Layers": ["a/layer.tar"] * 300}]), "one is expected"),
}


@pytest.mark.parametrize("name", CASES)
def test_an_archive_that_is_not_the_image_is_refused(name: str) -> None:
    files, message = CASES[name]
    with pytest.raises(BlobError, match=message) as caught:
        through(tar(files))
    assert caught.value.code == "image.wrong"


def test_texts_and_files_in_an_archive_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_TEXT", 100)
    with pytest.raises(BlobError, match="bytes"):
        through(tar(saved()))
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    with pytest.raises(BlobError, match="more than 3 files"):
        through(tar(saved()))


def test_a_long_extended_header_is_passed_over_unread() -> None:
    made = io.BytesIO()
    header = tarfile.TarInfo("pax")
    header.type, header.size = b"x", 8 << 30
    made.write(header.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(BlobError, match="ends too early"):
        members(made)


@given(st.binary(max_size=3000), st.integers(0, 6000))
def test_a_damaged_archive_is_refused_or_complete(junk: bytes, at: int) -> None:
    good = tar(saved())
    raw = good[:at] + junk + good[at + len(junk) :]
    try:
        made = through(raw)
    except BlobError:
        return
    assert made["config.json"] == CONFIG  # the engine checks the layers against it
