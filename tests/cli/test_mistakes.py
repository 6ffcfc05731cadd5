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


@pytest.mark.parametrize(
    ("join", "said"),
    [
        ("", "--join is empty"),
        (" ", "--join is empty"),
        ("10.0.0.5", "10.0.0.5:7946"),
        ("hall.lan", "hall.lan:7946"),
        ("edge1.x", "token"),
    ],
)
async def test_a_wrong_join_is_named(alone: Shell, join: str, said: str) -> None:
    failed = await alone("serve", "--join", join)
    assert (failed.code in (2, 3), said in failed.err) == (True, True), failed.err


async def test_a_wrong_rotation_is_named(edge: Shell) -> None:
    failed = await edge("camera", "add", "porch", "file:/x", "--rotate", "45")
    assert (failed.code, "0, 90, 180 or 270" in failed.err) == (2, True)


async def test_help_breaks_where_the_terminal_ends(alone: Shell) -> None:
    lines = [x.strip() for x in (await alone("serve", "-h", COLUMNS="80")).out.splitlines()]
    first = next(n for n, x in enumerate(lines) if x.startswith("Without state"))
    assert all(len(x) > 60 for x in lines[first : lines.index("node again.")]), lines


async def test_an_empty_path_is_not_the_current_folder(alone: Shell, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    for failed in (await alone("serve", "--state", ""), await alone("serve", EDGE_AGENT_STATE="")):
        assert (failed.code, "state is empty" in failed.err) == (2, True)
    assert sorted(tmp_path.iterdir()) == before


async def test_a_number_that_no_event_can_hold(alone: Shell) -> None:
    failed = await alone("pipeline", "trigger", "p", "--data", '{"x": 1e999}')
    assert (failed.code, "this is not JSON" in failed.err) == (2, True)


async def test_a_configuration_that_may_not_be_read(alone: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failed = await alone("--config", "file/config.yaml", "serve")
    assert (failed.code, "file/config.yaml" in failed.err, "internal" in failed.err) == (2, True, False)


async def test_a_terminal_without_our_signs_shows_all_output(alone: Shell) -> None:
    for line in (["--help"], ["doctor"], ["stauts"], ["trace", "\udcff\udcfe"]):
        shown = await alone(*line, PYTHONIOENCODING="latin-1")
        assert "internal" not in shown.err, line
        assert "UnicodeEncodeError" not in shown.err, line
        assert shown.out or shown.err


async def test_json_is_whole_on_a_terminal_without_our_signs(alone: Shell) -> None:
    shown = await alone("config", "show", "--json", EDGE_AGENT_STATE="/→/东", PYTHONIOENCODING="ascii")
    assert shown.json["state"] == "/→/东"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["status", "--xyz"], "error: no such option: --xyz [cli.usage]\n hint: edge-agent status -h shows"),
        (["trace"], "missing argument 'ALERT'"),
        (["node", "nonsense"], "edge-agent node -h shows"),
        (["events", "-n", "x"], "'x' is not a valid int"),
        (["trace", ""], "'' is not a name"),
        (["node", "describe", ".."], "'..' is not a name"),
    ],
)
async def test_wrong_use_has_the_form_of_all_errors(alone: Shell, line: list[str], said: str) -> None:
    failed = await alone(*line)
    assert (failed.code, said in failed.err) == (2, True), failed.err
    if line[0] == "status":
        assert (await alone(*line, "--json")).err.startswith('{"error": {"code": "')


@pytest.mark.parametrize(
    "line",
    [
        ["pipeline", "apply", "none"],
        ["pipeline", "trigger", "p", "--data", "@none"],
        ["camera", "add", "porch", "@none"],
        ["serve", "--join", "@none"],
        ["filter", "try", "--module", "none", "x"],
        ["sink", "connect", "https://h#sha256=" + "0" * 64, "--key-file", "none"],
        ["config", "check", "none"],
        ["add", "none"],
    ],
)
async def test_a_file_that_is_not_there(edge: Shell, line: list[str]) -> None:
    failed = await edge(*line)
    assert failed.code, line
    assert "Errno" not in failed.err
    assert "none" in failed.err


async def test_a_question_that_is_not_answered_does_nothing(edge: Shell) -> None:
    ended = await edge("pipeline", "remove", "person-at-the-door", input="n\n")
    assert (ended.code, "nothing was done" in ended.err) == (1, True)


async def test_a_command_without_its_extra_names_it(alone: Shell, tmp_path: Path) -> None:
    (tmp_path / "skimage.py").write_text("raise ModuleNotFoundError('no', name='skimage')")
    info = tmp_path / "scenes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scenes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edge_agent.commands]\nscenes = scenes:app\n")
    (tmp_path / "scenes.py").write_text("import skimage\n")
    failed = await alone("scenes", PYTHONPATH=f"{alone.environ['PYTHONPATH']}:{tmp_path}")
    assert (failed.code, "pip install 'edge-agent[demo]'" in failed.err) == (6, True)
