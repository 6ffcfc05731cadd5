"""Mistakes of users end with words and a remedy, never with a traceback or an internal error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Shell


@pytest.mark.parametrize(
    ("state", "why"), [("file", "it is not a folder"), ("file/below", "it is not a folder"), ("/proc/x", "")]
)
async def test_a_state_folder_that_cannot_be_used(alone: Shell, tmp_path: Path, state: str, why: str) -> None:
    (tmp_path / "file").touch()
    failed = await alone("serve", "--new", "--state", state)
    assert (failed.code, "[state.folder]" in failed.err) == (2, True)
    assert why in failed.err
    assert "--state FOLDER" in failed.err


async def test_a_configuration_that_may_not_be_read(alone: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failed = await alone("--config", "file/config.yaml", "serve")
    assert (failed.code, "file/config.yaml" in failed.err, "internal" in failed.err) == (2, True, False)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
async def test_a_terminal_without_our_signs_shows_all_output(alone: Shell, encoding: str) -> None:
    for line in (
        ["--help"],
        ["doctor"],
        ["status", "--nope"],
        ["stauts"],
        ["trace", "\udcff\udcfe"],
        ["config", "show"],
    ):
        shown = await alone(*line, PYTHONIOENCODING=encoding)
        assert "internal" not in shown.err, line
        assert "UnicodeEncodeError" not in shown.err, line
        assert shown.out or shown.err


async def test_json_is_whole_on_a_terminal_without_our_signs(alone: Shell) -> None:
    shown = await alone("config", "show", "--json", EDGE_AGENT_STATE="/→/东", PYTHONIOENCODING="ascii")
    assert shown.json["state"] == "/→/东"
