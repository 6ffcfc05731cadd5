"""The manifest: one form, limits, clear errors."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError, EdgeError, NotFound
from agent.release import SigningKey, read_manifest, write_manifest
from agent.release.manifest import MAX_MANIFEST, _bytes_of
from tests.release.making import manifest, package

GOOD = json.loads(write_manifest(manifest()))


def test_a_manifest_reads_back_as_written() -> None:
    key = SigningKey.generate().public.pem.decode()
    written = manifest("1.0.0-rc.1", next_key=key, installer="0" * 64, channel="beta")
    assert read_manifest(write_manifest(written)) == written


def test_a_package_is_a_line_and_fields_precede_packages() -> None:
    lines = write_manifest(manifest()).decode().splitlines()
    assert lines[:3] == ["{", ' "schema": 1,', ' "version": "0.1.0",']
    assert sum('"sha256"' in line for line in lines) == 1


def test_fields_of_a_later_release_are_ignored() -> None:
    later = {**GOOD, "notes": {"fixes": [1]}, "packages": [{**GOOD["packages"][0], "libc": "musl"}]}
    assert read_manifest(_bytes_of(later)) == manifest()


def with_package(**more: Any) -> dict[str, Any]:
    return {"packages": [{**GOOD["packages"][0], **more}]}


@pytest.mark.parametrize(
    "fields",
    [
        {"version": "1.0"}, {"version": "1.0.0\n"}, {"protocol": 0}, {"protocol": "1"}, {"channel": "Stable"}, {"channel": "../x"},
        {"released": "yesterday"}, {"installer": "abc"}, {"packages": None}, {"packages": [1]}, {"schema": 0},
        {"packages": GOOD["packages"] * 2}, {"packages": GOOD["packages"] * 257}, {"next_key": "x" * 2000},
        with_package(file="../x"), with_package(file="/etc/passwd"), with_package(file=""), with_package(file="a\n"),
        with_package(file="-rf"), with_package(size=0), with_package(size=2**40), with_package(size=True),
        with_package(sha256="A" * 64), with_package(kind="rpm"), with_package(arch="mips"), with_package(program="sh"),
        with_package(variant="x"), with_package(unpacked=-1),
    ],
)  # fmt: skip
def test_a_bad_field_is_refused_with_its_name(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        read_manifest(_bytes_of(GOOD | fields))
    assert error.value.code == "release.manifest"
    assert error.value.hint


def test_a_next_key_must_be_a_key() -> None:
    with pytest.raises(EdgeError) as error:
        read_manifest(_bytes_of(GOOD | {"next_key": "hello"}))
    assert error.value.code == "release.key"


def test_a_later_schema_names_the_way_out() -> None:
    with pytest.raises(ConfigError) as error:
        read_manifest(_bytes_of(GOOD | {"schema": 2}))
    assert error.value.code == "release.schema"
    assert "installer" in error.value.hint


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"{}", b"nonsense", b"\xff\xfe", b"[" * 100_000, b'{"schema": NaN}', b'{"schema": 1.0}',
        b" " * (MAX_MANIFEST + 1), write_manifest(manifest()) + b" ", write_manifest(manifest()).replace(b"\n", b"\r\n"),
        write_manifest(manifest()).replace(b' "protocol": 1,\n', b' "protocol": 1,\n "protocol": 1,\n'),
        json.dumps(GOOD).encode(), write_manifest(manifest()).decode().encode("utf-16"),
        b'{"schema": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_bytes_in_another_form_are_refused(raw: bytes) -> None:
    with pytest.raises(ConfigError) as error:
        read_manifest(raw)
    assert error.value.code in ("release.manifest", "release.schema")


@given(st.binary(max_size=60), st.integers(0, 600))
def test_damaged_bytes_raise_errors_for_people_alone(noise: bytes, place: int) -> None:
    raw = write_manifest(manifest())
    changed = raw[:place] + noise + raw[place + len(noise) :]
    with suppress(EdgeError):
        read_manifest(changed)


def test_find_names_the_architectures_that_exist() -> None:
    found = manifest(packages=(package(), package(file="b", arch="armv7")))
    assert found.find("tar.xz", "armv7").file == "b"
    with pytest.raises(NotFound, match=r"no tar\.xz of edge-agent for aarch64") as error:
        found.find("tar.xz", "aarch64")
    assert "armv7, x86_64" in error.value.hint
    with pytest.raises(NotFound) as error:
        found.find("deb", "x86_64", variant="camera")
    assert error.value.code == "release.no-package"
