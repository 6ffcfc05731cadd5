"""The writers: equal input makes equal bytes, and other programs read the packages."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.packaging import adb_reader, small

assert small.ROOT
from writers.adb import Adb  # noqa: E402
from writers.apk import Info, apk_version, write_apk, write_index  # noqa: E402
from writers.deb import deb_version, write_deb  # noqa: E402
from writers.entries import EPOCH, Entry, complete, file, link, tree, unpacked  # noqa: E402
from writers.ipk import feed, write_ipk  # noqa: E402
from writers.tar import write_tar_gz, write_tar_xz  # noqa: E402

ENTRIES = [
    file("usr/bin/thing", "#!/bin/sh\necho hi\n", 0o755),
    link("usr/bin/other", "thing"),
    file("etc/config/thing", "config\n", 0o600),
    file("opt/x/empty", ""),
    file("opt/x/big", b"0123456789" * 3000),
    file("opt/x-y", "before x/"),
    Entry("opt/x/folder", 0o750),
]
INFO = Info("thing", "1.2.0-r1", "A thing", "Apache-2.0", "https://example.org/", "Somebody <a@example.org>")
FIELDS = {
    "Package": "thing", "Version": "1.2.0", "Architecture": "amd64", "Maintainer": "Somebody <a@example.org>", "Depends": "",
    "Description": "a thing\nwith more lines\n.\nof text",
}  # fmt: skip
SCRIPTS = {"postinst": "#!/bin/sh\nexit 0\n"}


def members(raw: bytes) -> list[tuple[str, bytes]]:
    """The members of an ar archive."""
    assert raw[:8] == b"!<arch>\n"
    found, place = [], 8
    while place < len(raw):
        header = raw[place : place + 60]
        assert header[58:] == b"`\n"
        size = int(header[48:58])
        found.append((header[:16].decode().strip(), raw[place + 60 : place + 60 + size]))
        place += 60 + size + size % 2
    return found


def test_parents_are_added_and_come_before_their_content() -> None:
    paths = [e.path for e in complete(ENTRIES)]
    assert paths[:3] == ["etc", "etc/config", "etc/config/thing"]
    assert all(p.rpartition("/")[0] in ("", *paths[:i]) for i, p in enumerate(paths))


@pytest.mark.parametrize("path", ["", "/etc", "a//b", "a/../b", "./a", "a/", "a\nb", "a\0"])
def test_a_path_outside_of_the_package_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a path"):
        Entry(path)


@pytest.mark.parametrize("entries", [[file("a", "1"), file("a", "2")], [file("a", "1"), file("a/b", "2")]])
def test_two_things_at_one_path_are_refused(entries: list[Entry]) -> None:
    with pytest.raises(ValueError, match="a is"):
        complete(entries)


def test_a_tree_of_a_folder_keeps_links_and_says_who_runs(tmp_path: Path) -> None:
    base = small.make_tree(tmp_path)
    found = {e.path: e for e in tree(base, "opt/x")}
    assert found["opt/x/edge-agent"].mode == 0o755
    assert found["opt/x/_internal/tree.json"].mode == 0o644
    assert found["opt/x/_internal/libpython3.11.so"].target == "libpython3.11.so.1.0"
    (tmp_path / "pipe").touch()
    import os

    os.mkfifo(base / "fifo")
    with pytest.raises(ValueError, match="neither a file"):
        tree(base, "x")


@pytest.mark.parametrize("write", [write_tar_xz, write_tar_gz])
def test_a_tar_has_one_owner_and_one_time(write: type) -> None:
    packed = [io.BytesIO(), io.BytesIO()]
    for out in packed:
        write(out, complete(ENTRIES), before="./")
    assert packed[0].getvalue() == packed[1].getvalue()
    with tarfile.open(fileobj=io.BytesIO(packed[0].getvalue())) as tar:
        found = tar.getmembers()
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in found} == {(0, 0, "root", "root", EPOCH)}
    assert [m.name for m in found] == [f"./{e.path}" for e in complete(ENTRIES)]


def test_busybox_unpacks_a_tar_xz(tmp_path: Path) -> None:
    with (tmp_path / "a.tar.xz").open("wb") as out:
        write_tar_xz(out, complete([*ENTRIES, file("opt/" + "long/" * 30 + "name", "deep")]))
    subprocess.run(["busybox", "tar", "-xJf", "a.tar.xz"], cwd=tmp_path, check=True)
    assert (tmp_path / "opt/x/big").read_bytes() == b"0123456789" * 3000
    assert (tmp_path / "usr/bin/other").readlink() == Path("thing")
    assert (tmp_path / "opt" / ("long/" * 30) / "name").read_text() == "deep"


def test_dpkg_deb_reads_a_deb(tmp_path: Path) -> None:
    for name in ("a.deb", "b.deb"):
        write_deb(tmp_path / name, FIELDS, ENTRIES, scripts=SCRIPTS, conffiles=("/etc/config/thing",))
    assert (tmp_path / "a.deb").read_bytes() == (tmp_path / "b.deb").read_bytes()

    def dpkg(*words: str) -> str:
        return subprocess.run(["dpkg-deb", *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert dpkg("-f", "a.deb", "Package", "Installed-Size").split() == ["Package:", "thing", "Installed-Size:", "42"]
    assert "Depends" not in dpkg("-f", "a.deb")
    assert dpkg("-f", "a.deb", "Description").splitlines() == ["a thing", " with more lines", " .", " of text"]
    assert "-rw------- root/root         7 2026-01-01 00:00 ./etc/config/thing" in dpkg("-c", "a.deb")
    dpkg("-R", "a.deb", "out")
    assert (tmp_path / "out/DEBIAN/conffiles").read_text() == "/etc/config/thing\n"
    subprocess.run(["md5sum", "-c", "--quiet", "DEBIAN/md5sums"], cwd=tmp_path / "out", check=True)
    names = [name for name, _ in members((tmp_path / "a.deb").read_bytes())]
    assert names == ["debian-binary", "control.tar.xz", "data.tar.xz"]


@pytest.mark.parametrize("write", [write_deb, write_ipk])
def test_a_conffile_that_is_not_there_is_refused(tmp_path: Path, write: type) -> None:
    with pytest.raises(ValueError, match="/etc/none"):
        write(tmp_path / "x", FIELDS, ENTRIES, scripts={}, conffiles=("/etc/none",))
    with pytest.raises(ValueError, match="config"):
        write(tmp_path / "x", FIELDS, ENTRIES, scripts={"config": ""})


def test_an_ipk_is_a_gzip_tar_of_three_members(tmp_path: Path) -> None:
    for name in ("a.ipk", "b.ipk"):
        write_ipk(tmp_path / name, FIELDS, ENTRIES, scripts=SCRIPTS, conffiles=("/etc/config/thing",))
    raw = (tmp_path / "a.ipk").read_bytes()
    assert raw == (tmp_path / "b.ipk").read_bytes()
    subprocess.run(["busybox", "tar", "-xzf", "a.ipk"], cwd=tmp_path, check=True)
    assert (tmp_path / "debian-binary").read_text() == "2.0\n"
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(raw))) as tar:
        assert sorted(tar.getnames()) == ["./control.tar.gz", "./data.tar.gz", "./debian-binary"]
    with tarfile.open(tmp_path / "control.tar.gz") as tar:
        control = tar.extractfile("./control")
        assert control is not None
        text = control.read().decode()
        assert tar.getmember("./postinst").mode == 0o755
    assert f"Installed-Size: {unpacked(ENTRIES)}\n" in text
    with tarfile.open(tmp_path / "data.tar.gz") as tar:
        assert [m.name for m in tar.getmembers()] == [f"./{e.path}" for e in complete(ENTRIES)]


def test_a_feed_has_a_paragraph_a_package() -> None:
    text, packed = feed([{"Package": "a", "Size": "1"}, {"Package": "b", "Size": "2"}])
    assert text == b"Package: a\nSize: 1\n\nPackage: b\nSize: 2\n"
    assert gzip.decompress(packed) == text


def test_versions_keep_their_order_in_each_form() -> None:
    assert deb_version("0.2.0-rc.1") == "0.2.0~rc.1"
    assert (apk_version("0.2.0"), apk_version("0.2.0-rc.1"), apk_version("0.2.0-beta")) == (
        "0.2.0-r1", "0.2.0_rc1-r1", "0.2.0_beta-r1",
    )  # fmt: skip
    for ordered in (("0.2.0~rc.1", "0.2.0"), ("0.2.0~beta.2", "0.2.0~rc.1")):
        subprocess.run(["dpkg", "--compare-versions", ordered[0], "lt", ordered[1]], check=True)
    for none in ("0.2.0-next.1", "0.2.0-rc.1.2"):
        with pytest.raises(ValueError, match="no form"):
            apk_version(none)


def test_a_package_of_apk_has_each_file_once_and_in_order(tmp_path: Path) -> None:
    for name in ("a.apk", "b.apk"):
        listed = write_apk(tmp_path / name, INFO, ENTRIES, scripts={"post-install": "#!/bin/sh\n"})
    raw = (tmp_path / "a.apk").read_bytes()
    assert raw == (tmp_path / "b.apk").read_bytes()
    found = adb_reader.read(raw)
    assert found.schema == b"pckg"
    info, folders = found.root[1], found.root[2]
    assert (info[1], info[2], info[5]) == (b"thing", b"1.2.0-r1", b"noarch")
    zeroed = found.data.replace(info[3], bytes(20))
    assert info[3] == hashlib.sha256(zeroed).digest()[:20]
    assert listed.identity == hashlib.sha256(found.data).digest()
    names = [f[1] for f in folders]
    assert names == sorted(names)
    assert found.root[3] == {3: b"#!/bin/sh\n"}
    contents = {}
    for at, folder in enumerate(folders, 1):
        assert [f[1] for f in folder.get(3, [])] == sorted(f[1] for f in folder.get(3, []))
        for number, one in enumerate(folder.get(3, []), 1):
            data = found.files.pop((at, number), b"")
            path = f"{folder[1].decode()}/{one[1].decode()}"
            if 6 in one:
                assert one[6] == b"\x00\xa0thing"
                continue
            assert len(data) == one.get(3, 0)
            assert hashlib.sha256(data).digest() == one[5]
            contents[path] = (data, one[2][1])
    assert not found.files
    assert contents == {e.path: (b"".join(e.pieces()), e.mode) for e in ENTRIES if e.content is not None}


def test_an_index_lists_the_package_and_its_file(tmp_path: Path) -> None:
    listed = write_apk(tmp_path / "thing-1.2.0-r1-armv7.apk", INFO, ENTRIES, scripts={})
    write_index(tmp_path / "packages-armv7.adb", listed, "thing-1.2.0-r1-armv7.apk")
    found = adb_reader.read((tmp_path / "packages-armv7.adb").read_bytes())
    assert found.schema == b"indx"
    (one,) = found.root[2]
    assert (one[1], one[3], one[13]) == (b"thing", listed.identity, listed.size)
    assert found.root[3] == b"${name}-${version}-armv7.apk"
    with pytest.raises(ValueError, match="finds no file"):
        write_index(tmp_path / "x", listed, "other-1.2.0-r1.apk")


def test_a_file_beside_the_folders_is_no_package_of_apk(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not in a folder"):
        write_apk(tmp_path / "x", INFO, [file("top", "x")], scripts={})
    with pytest.raises(ValueError, match="postinst"):
        write_apk(tmp_path / "x", INFO, ENTRIES, scripts={"postinst": ""})


names = st.from_regex(r"[a-z][a-z0-9._-]{0,9}", fullmatch=True).filter(lambda n: n not in (".", ".."))
plans = st.dictionaries(
    st.lists(names, min_size=2, max_size=4).map("/".join), st.binary(max_size=300), min_size=1, max_size=12
).filter(lambda plan: not any(a != b and b.startswith(f"{a}/") for a in plan for b in plan))


@given(plans)
def test_any_files_read_back_from_each_package(
    tmp_path_factory: pytest.TempPathFactory, plan: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    entries = [file(path, data) for path, data in plan.items()]
    write_apk(folder / "a.apk", INFO, entries, scripts={})
    found = adb_reader.read((folder / "a.apk").read_bytes())
    read = {
        f"{f[1].decode()}/{one[1].decode()}": found.files.get((at, number), b"")
        for at, f in enumerate(found.root[2], 1)
        for number, one in enumerate(f.get(3, []), 1)
    }
    assert read == plan
    write_deb(folder / "a.deb", FIELDS, entries, scripts={})
    data = dict(members((folder / "a.deb").read_bytes()))["data.tar.xz"]
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(data))) as tar:
        unpacked_files = {m.name[2:]: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}  # type: ignore[union-attr]
    assert unpacked_files == plan


values = st.recursive(
    st.one_of(st.integers(0, 2**32 - 1), st.binary(min_size=1, max_size=400), st.just(b"x" * 70_000)),
    lambda inner: st.lists(inner, min_size=1, max_size=5), max_leaves=12,
)  # fmt: skip


@given(values)
def test_any_value_reads_back_from_a_database(value: object) -> None:
    adb = Adb()

    def word(one: object) -> int:
        if isinstance(one, list):
            return adb.array([word(i) for i in one])
        return adb.number(one) if isinstance(one, int) else adb.blob(one)  # type: ignore[arg-type]

    root = adb.object({2: word(value)})
    data = bytes(adb.finish(root))
    assert adb_reader.value(data, root) == {2: value}


def test_numbers_beyond_32_bits_are_refused() -> None:
    for number in (-1, 2**32):
        with pytest.raises(ValueError, match="does not fit"):
            Adb().number(number)
