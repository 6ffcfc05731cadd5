"""The command line `edge-sink`, for people and for scripts."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from pathlib import Path

import pytest

from agent import __version__
from cloud_sink.cli import main
from tests.sink.running import Building, Caller, RunningSink, encode, running_sink


async def edge_sink(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cloud_sink", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, out.decode(), err.decode()


async def test_ready_file_is_private_and_stdout_has_no_secret(tmp_path: Path) -> None:
    async with running_sink(tmp_path / "sink") as sink:
        ready = tmp_path / "sink.ready"
        assert stat.S_IMODE(ready.stat().st_mode) == 0o600
        assert set(sink.facts) == {"url", "pin", "connect", "key_file", "login_url", "port", "pid"}
        assert sink.facts["connect"] == f"edge-agent sink connect {sink.url}#sha256={sink.pin}"
        assert await sink.stop() == 0
        printed = json.loads(sink.log.read_text().splitlines()[0])
        assert printed["pin"] == sink.pin
        assert "login_url" not in printed


async def test_a_restart_keeps_certificate_key_and_alerts(tmp_path: Path) -> None:
    async with running_sink(tmp_path / "sink") as sink:
        pin, key = sink.pin, sink.key
    async with running_sink(tmp_path / "sink") as sink:
        assert (sink.pin, sink.key) == (pin, key)


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (["--port", "1", "--host", "203.0.113.9"], "cannot listen", 2),
        (["--db", "oracle://x"], "database", 2),
        (["--slack-channel", "#general"], "Slack needs the bot's token", 2),
        (["--mqtt", "http://x"], "not a broker's URL", 2),
        (["--apprise-file", "/nonexistent"], "cannot be read", 2),
        (["--notices", "on"], "--notices needs a service", 2),
        (["--notices", "all of them"], "not the code of a warning", 2),
    ],
)
async def test_wrong_option_gives_an_error_and_an_exit_code(
    tmp_path: Path, arguments: list[str], says: str, code: int
) -> None:
    returned, _, err = await edge_sink("serve", "--data", str(tmp_path / "sink"), *arguments)
    assert returned == code
    assert says in err
    assert "Traceback" not in err


async def test_errors_have_the_form_of_edge_agent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for arguments in (["key", "list"], ["serve"]):
        code, _, err = await edge_sink(*arguments, "--data", str(tmp_path / "file"))
        assert (code, err.splitlines()[0]) == (2, f"error: {tmp_path}/file cannot be used: it is not a folder [config]")
        assert err.splitlines()[1].startswith(" hint: name another folder with --data")
    code, _, err = await edge_sink("key", "revoke", "nokey", "--data", str(tmp_path / "sink"), "--json")
    assert (code, json.loads(err)["error"]["code"]) == (6, "not-found")


async def test_a_ready_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    arguments = ("--data", str(tmp_path), "--port", "0", "--host", "127.0.0.1", "--ready-file", "/proc/x/ready")
    code, _, err = await edge_sink("serve", *arguments)
    assert (code, "/proc/x: No such file or directory [system]" in err, "Traceback" in err) == (1, True, False)


async def test_a_missing_library_names_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys\nfor name in ('sqlalchemy', 'fastapi', 'alembic'): sys.modules[name] = None\n"
        "sys.argv = ['edge-sink', *sys.argv[1:]]\nfrom cloud_sink.cli import main\nmain()"
    )
    for arguments in (["serve"], ["user", "list"]):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, *arguments, "--data", str(tmp_path), stderr=asyncio.subprocess.PIPE
        )
        _, err = await process.communicate()
        assert process.returncode == 6
        assert b"pip install 'edge-agent[sink]'" in err
        assert b"[not-installed]" in err
        assert b"Traceback" not in err


@pytest.mark.parametrize("arguments", [[], ["serve"], ["status"], ["key"], ["user", "add"]], ids=" ".join)
def test_every_command_has_the_short_option_for_help(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["edge-sink", *arguments, "-h"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, "Usage: edge-sink" in capsys.readouterr().out) == (0, True)


async def test_the_version_is_that_of_the_package() -> None:
    assert (await edge_sink("--version"))[1] == f"edge-sink {__version__}\n"


@pytest.mark.parametrize("command", [["key", "list"], ["key", "revoke", "x"], ["user", "list"], ["user", "login-link"]])
def test_a_folder_without_a_sink_is_named_and_not_made(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["edge-sink", *command, "--data", str(tmp_path / "wrong")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, "--data" in capsys.readouterr().err) == (6, True)
    assert not (tmp_path / "wrong").exists()


async def test_every_command_has_a_json_form(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse battery\n")
    given = ("--data", str(tmp_path / "sink"), "--json")
    secret = ("--password-file", str(tmp_path / "password"))
    for command in (["user", "add", "ada", *secret], ["user", "password", "ada", *secret], ["user", "remove", "ada"]):
        code, out, err = await edge_sink(*command, *given)
        assert (code, json.loads(out), err) == (0, {"name": "ada"}, "")


async def test_second_sink_on_the_same_port_is_an_error(tmp_path: Path) -> None:
    async with running_sink(tmp_path / "sink") as sink:
        arguments = ("--host", "127.0.0.1", "--port", str(sink.port), "--data", str(tmp_path / "other"))
        returned, _, err = await edge_sink("serve", *arguments)
        assert returned == 2
        assert "sink.listen" in err


def test_a_key_can_be_written_to_a_file_instead_of_the_screen(sink: Caller, tmp_path: Path) -> None:
    said = json.loads(sink.cli("key", "create", "Barn", "--out", str(tmp_path / "barn.key"), "--json"))
    text = (tmp_path / "barn.key").read_text().strip()
    assert text.startswith("esk_")
    assert text not in json.dumps(said)
    assert stat.S_IMODE((tmp_path / "barn.key").stat().st_mode) == 0o600
    assert sink.post("/v1/alerts", encode(Building("mesh-barn").alert(1)), text).status_code == 200


def test_lists_have_a_table_and_a_json_form(sink: Caller) -> None:
    assert sink.cli("user", "list").split()[:3] == ["NAME", "PASSWORD", "CREATED"]
    assert "owner" in [u["name"] for u in json.loads(sink.cli("user", "list", "--json"))]
    assert "[not-found]" in sink.cli("key", "revoke", "nokey", check=False)


async def test_help_names_every_command_and_option() -> None:
    _, out, _ = await edge_sink("--help")
    for word in ("serve", "status", "key", "user", "Exit codes"):
        assert word in out
    _, out, _ = await edge_sink("serve", "--help")
    for option in ("--slack-channel", "--mqtt", "--db", "--ready-file", "--keep", "--notices"):
        assert option in out


def test_sigterm_ends_a_sink_with_open_connections_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_sink(tmp_path / "sink") as sink:
            writers = [await connected(sink) for _ in range(5)]
            started = asyncio.get_running_loop().time()
            assert await sink.stop() == 0
            assert asyncio.get_running_loop().time() - started < 5
            for writer in writers:
                writer.transport.abort()

    asyncio.run(scenario())


async def connected(sink: RunningSink) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", sink.port)
    writer.write(b"\x16\x03\x01")
    await writer.drain()
    return writer
