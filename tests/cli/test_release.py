"""`edge-agent release …`: keygen, sign, verify and show, in a separate process without an agent."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from pathlib import Path

from tests.cli.conftest import ROOT, Shell
from tests.cli.test_completion import complete
from tests.release.making import fill


async def made(shell: Shell, *options: str) -> Path:
    done = await shell("release", "keygen", "key", *options)
    assert done.code == 0, done.err
    return shell.folder / "key"


async def test_a_key_a_release_and_its_check(alone: Shell) -> None:
    key = await made(alone)
    assert (key / "release.key").stat().st_mode & 0o777 == 0o600
    dist = alone.folder / "dist"
    dist.mkdir()
    fill(dist)
    assert (await alone("release", "show", "dist")).out.count("not signed yet") == 1
    signed = await alone("release", "sign", "dist", "--key", "key/release.key", "--json")
    assert signed.code == 0, signed.err
    verified = await alone("release", "verify", "dist", "--key", "key/release.pub", "--json")
    assert verified.json["key"] == signed.json["key"]
    assert verified.json["pinned"] is True
    shown = await alone("release", "show", "dist", "--json")
    assert [p["arch"] for p in shown.json["packages"]] == ["x86_64", "armv7"]
    assert "compare its id" in (await alone("release", "verify", "dist")).out


async def test_keygen_says_to_keep_the_key_off_nodes(alone: Shell) -> None:
    done = await alone("release", "keygen", "key")
    assert "off every node" in " ".join(done.out.split())
    again = await alone("release", "keygen", "key", "--json")
    assert again.code == 2
    assert json.loads(again.err)["error"]["code"] == "release.exists"


async def test_a_passphrase_comes_from_a_file(alone: Shell) -> None:
    (alone.folder / "secret").write_text("correct horse\n")
    key = await made(alone, "--passphrase-file", "secret")
    assert b"ENCRYPTED" in (key / "release.key").read_bytes()
    fill(alone.folder)
    blocked = await alone("release", "sign", ".", "--key", "key/release.key")
    assert (blocked.code, "release.passphrase" in blocked.err) == (2, True)
    done = await alone("release", "sign", ".", "--key", "key/release.key", "--passphrase-file", "secret")
    assert done.code == 0, done.err
    assert "correct horse" not in done.out


async def test_a_passphrase_is_asked_at_the_terminal_not_stdin(alone: Shell) -> None:
    """stdin is a file here; the terminal is the controlling one."""
    leader, follower = pty.openpty()
    code = "import os,fcntl,termios; os.setsid(); fcntl.ioctl(int(os.environ['TTY_FD']),termios.TIOCSCTTY,0); "
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code + "from agent.cli import main; main()", "release", "keygen", "key", "--passphrase",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env=alone.environ | {"TTY_FD": str(follower)}, cwd=alone.folder, pass_fds=(follower,),
    )  # fmt: skip
    os.close(follower)
    loop = asyncio.get_running_loop()
    for prompt in (b"release key:", b"Again:"):
        seen = b""
        while prompt not in seen:
            seen += await asyncio.wait_for(loop.run_in_executor(None, os.read, leader, 1000), 30)
        os.write(leader, b"correct horse\n")
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    os.close(leader)
    assert process.returncode == 0, out.decode()
    assert b"encrypted" in out
    assert b"ENCRYPTED" in (alone.folder / "key/release.key").read_bytes()


async def test_no_option_takes_a_passphrase_itself() -> None:
    text = (ROOT / "agent/cli/release.py").read_text()
    assert '"--passphrase", help' in text
    assert "passphrase: Annotated[\n        bool" in text


async def test_a_forged_release_is_refused_with_words(alone: Shell) -> None:
    await made(alone)
    dist = alone.folder / "dist"
    dist.mkdir()
    fill(dist)
    assert (await alone("release", "verify", "dist", "--key", "key/release.pub")).code == 6
    await alone("release", "sign", "dist", "--key", "key/release.key")
    (dist / "edge-agent-0.1.0-armv7.tar.xz").write_bytes(b"armv7 0.1.1")
    done = await alone("release", "verify", "dist", "--key", "key/release.pub")
    assert (done.code, "[release.package]" in done.err) == (3, True)


async def test_help_has_examples(alone: Shell) -> None:
    assert "Examples" in (await alone("release", "--help")).out


async def test_the_shell_completes_its_verbs(alone: Shell) -> None:
    assert await complete(alone, "edge-agent rel") == ["release"]
    assert await complete(alone, "edge-agent release s") == ["sign", "show"]
