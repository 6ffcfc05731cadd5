"""`edge-agent filter try`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Result, Shell
from tests.filters.conftest import filters

__all__ = ["filters"]

JOIN = "Mar  4 09:10:11 attic hostapd: wlan0: AP-STA-CONNECTED 02:00:00:00:00:01 auth_alg=sae"


@pytest.fixture
def plain(filters: Path) -> Path:
    """A filter without --explain."""
    return filters / "wifi-join-zig.wasm"


async def test_a_filter_without_explain_shows_its_events(alone: Shell, plain: Path) -> None:
    shown = await alone("filter", "try", "--module", str(plain), JOIN, "sshd: AP-STA-CONNECTED 02:00:00:00:00:01")
    assert shown.code == 0
    assert "this filter has no --explain" in shown.out
    assert "wifi.client.joined" in shown.out
    assert "2 lines, 1 with an event" in shown.out
    asked = await alone("filter", "try", "--module", str(plain), "--suggest", "no event")
    assert (asked.code, "has no --explain" in asked.err) == (2, True)


async def test_lines_come_from_words_files_and_stdin(alone: Shell, plain: Path, tmp_path: Path) -> None:
    (tmp_path / "ap.log").write_bytes(b"\xff noise\r\n" + JOIN.encode())
    shown = await alone("filter", "try", "--json", "--module", str(plain), "ap.log", "-", JOIN, input=f"{JOIN}\n\n")
    lines = shown.json["lines"]
    assert [line["event"] is not None for line in lines] == [False, True, True, False, True]
    assert [line["line"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[0]["text"] == "� noise"
    assert lines[1]["event"]["data"] == {"mac": "02:00:00:00:00:01", "interface": "wlan0", "auth": "sae"}


async def test_no_event_ends_with_1(alone: Shell, plain: Path) -> None:
    assert (await alone("filter", "try", "--module", str(plain), "quiet here")).code == 1
    assert (await alone("filter", "try", "--module", str(plain), "-")).code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/var/log/not-there",), "there is no file /var/log/not-there"),
        ((".",), "cannot be read"),
        (("--module", "not-there.wasm", "a line"), "there is no module not-there.wasm"),
    ],
)
async def test_a_mistake_is_a_clear_error(alone: Shell, filters: Path, arguments: tuple[str, ...], said: str) -> None:
    shown: Result = await alone("filter", "try", *arguments)
    assert (shown.code, said in shown.err) == (2, True)
    assert "hint:" in shown.err


async def test_a_file_that_is_no_filter_is_a_clear_error(alone: Shell, tmp_path: Path) -> None:
    (tmp_path / "not.wasm").write_text("hello")
    shown = await alone("filter", "try", "--module", "not.wasm", "a line")
    assert (shown.code, "internal" in shown.err, "[wasm.invalid]" in shown.err) == (1, False, True)
