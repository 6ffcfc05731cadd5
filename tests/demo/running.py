"""The demo as a new user starts it: the real command in separate processes."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from tests.support import eventually

ROOT = Path(__file__).parents[2]
NO_DOCKER = {"DOCKER_HOST": "tcp://127.0.0.1:1"}
"""A missing engine: nothing listens on port 1."""
MOST = 150.0
"""Seconds for a whole run on a busy machine."""


class Demo:
    """One run of `edge-agent demo` with its own folder and runtime folder."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder / "d"
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
        self.environ = {**kept, "XDG_RUNTIME_DIR": str(runtime), **environ}
        self.out, self.err = folder / "out", folder / "err"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *options: str) -> None:
        """Start it in the background."""
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                "from agent.cli import main; main()",
                "demo",
                "--dir",
                str(self.folder),
                *options,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self.environ,
                start_new_session=True,
            )

    async def start_in_terminal(self) -> None:
        """Start it in a separate terminal (script(1)), where `type` presses keys; `out` has its whole output."""
        command = [sys.executable, "-c", "from agent.cli import main; main()", "demo", "--dir", str(self.folder)]
        self.err = self.out
        self.process = await asyncio.create_subprocess_exec(
            "script", "-q", "-e", "-f", "-c", shlex.join(command), str(self.out),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            env={**self.environ, "TERM": "xterm", "SHELL": "/bin/sh"}, start_new_session=True,
        )  # fmt: skip

    async def type(self, keys: str) -> None:
        """Press keys."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(keys.encode())
        await self.process.stdin.drain()

    async def wait(self) -> int:
        """Wait for its end; returns its exit code."""
        assert self.process is not None
        async with asyncio.timeout(30):
            return await self.process.wait()

    async def run(self, *options: str) -> int:
        """Run it to its end; returns its exit code."""
        await self.start(*options)
        assert self.process is not None
        async with asyncio.timeout(MOST):
            return await self.process.wait()

    async def end(self, number: signal.Signals) -> int:
        """Send a signal; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return await self.wait()

    async def ready(self, text: str = "demo poke") -> None:
        """Wait until the output contains `text`, which means that phones can join."""
        assert self.process is not None
        process = self.process
        await eventually(lambda: (self.out.exists() and text in self.shown()) or process.returncode is not None, MOST)
        assert self.process.returncode is None, self.err.read_text()

    def shown(self) -> str:
        """Its output so far. The last character may be half written, so it may be a replacement character."""
        return self.out.read_text(errors="replace")

    async def poke(self, *options: str) -> dict[str, Any]:
        """`edge-agent demo poke --json` from another shell."""
        code, out, err = await self.shell("demo", "poke", "--json", *options)
        assert code == 0, err
        made: dict[str, Any] = json.loads(out)
        return made

    async def shell(self, *words: str) -> tuple[int, str, str]:
        """Run another command in the same environment."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from agent.cli import main; main()", *words,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=self.environ,
        )  # fmt: skip
        async with asyncio.timeout(MOST):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    def summary(self) -> dict[str, Any]:
        """Its output, which must be exactly one JSON document on one line."""
        lines = self.out.read_text().splitlines()
        assert len(lines) == 1, (lines, self.err.read_text())
        made: dict[str, Any] = json.loads(lines[0])
        return made

    def left(self) -> list[str]:
        """Processes that use its folder."""
        found = []
        for proc in Path("/proc").iterdir():
            if proc.name.isdigit() and int(proc.name) != os.getpid() and self._mentions(proc):
                found.append((proc / "cmdline").read_text(errors="replace").replace("\0", " "))
        return found

    def _mentions(self, proc: Path) -> bool:
        wanted = str(self.folder).encode()
        try:
            if (proc / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z":
                return False
            texts = ((proc / name).read_bytes() for name in ("cmdline", "environ"))
            return any(wanted in text for text in texts) or str(self.folder) in str((proc / "cwd").readlink())
        except OSError:
            return False


async def stop_hard(demo: Demo) -> None:
    """Clean up after a failed test."""
    if demo.process is not None and demo.process.returncode is None:
        os.killpg(demo.process.pid, signal.SIGKILL)
        await demo.process.wait()
