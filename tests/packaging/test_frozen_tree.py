"""The frozen tree on a system that has nothing but a static busybox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import agent
from tests.executors.wasm_programs import build
from tests.packaging.bare_root import BareRoot

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROGRAM = "/opt/edge-agent/edge-agent"
JOIN = "hostapd: wlan0: AP-STA-CONNECTED 02:00:00:00:00:01 auth_alg=sae"
PIPELINE = """\
version: 1
name: bare
steps:
  wifi:
    tail: logread
    wasm: {module: edge/wifi-join}
    emit: [wifi.client.joined]
  module:
    after: wifi
    wasm: {module: /opt/step.wasm}
  program:
    after: wifi
    process: {command: [/bin/sh, -c, 'env > /tmp/step.env'], once: true}
"""
LOGREAD = f"""\
#!/bin/sh
env > /tmp/logread.env
while :; do echo 'Sat Nov 28 12:00:00 2026 daemon.notice {JOIN}'; sleep 1; done
"""


def eventually(found: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Wait until `found` returns something true, and return it."""
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, f"it did not happen in time: {what}"
        time.sleep(0.1)
    return result


@pytest.fixture
def serving(bare: BareRoot, tmp_path: Path) -> Iterator[BareRoot]:
    """An agent that serves in the bare root, with a log program and its owner's leave to run programs."""
    (bare.path / "bin/logread").write_text(LOGREAD)
    (bare.path / "bin/logread").chmod(0o755)
    log = tmp_path / "serve.log"
    process = bare.start("EDGE_AGENT_POLICY_PROCESS=true", PROGRAM, "serve", "--new", log=log)
    eventually(lambda: (bare.path / "run/edge-agent/agent.sock").exists() or process.poll() is not None, "serve")
    assert process.poll() is None, log.read_text()
    yield bare
    assert process.poll() is None, log.read_text()
    process.terminate()
    process.wait(30)


def test_tree_starts_without_a_c_library_through_any_path(bare: BareRoot) -> None:
    (bare.path / "bin/edge-agent").symlink_to("../opt/edge-agent/edge-agent")
    (bare.path / "opt/current").symlink_to("edge-agent")
    (bare.path / "bin/indirect").symlink_to("/opt/current/edge-agent")
    relative = ("sh", "-c", 'cd /opt/current && exec ./edge-agent "$@"', "-")
    for words in (("/bin/edge-agent",), ("edge-agent",), ("/bin/indirect",), (PROGRAM,), relative):
        done = bare.run(*words, "version", "--json")
        assert done.returncode == 0, (words, done.stderr)
        assert json.loads(done.stdout)["version"] == agent.__version__


def test_facts_of_the_tree_stand_beside_it(tree: Path) -> None:
    facts = json.loads((tree / "_internal/tree.json").read_text())
    assert facts == {
        "program": "edge-agent", "version": agent.__version__, "protocol": agent.PROTOCOL, "arch": os.uname().machine, "variant": "",
    }  # fmt: skip


def test_every_command_is_in_the_tree(tree: Path) -> None:
    from agent.cli.main import NOUNS

    for noun in NOUNS:
        done = subprocess.run([tree / "edge-agent", noun.name, "--help"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (noun.name, done.stderr)
        assert noun.name in done.stdout


def test_filter_finds_a_join(bare: BareRoot) -> None:
    done = bare.run(PROGRAM, "filter", "try", "--json", JOIN)
    assert done.returncode == 0, done.stderr
    assert "wifi.client.joined" in done.stdout


def test_selftest_finds_no_fault(bare: BareRoot) -> None:
    done = bare.run(PROGRAM, "selftest", "--json", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {c["check"]: c["state"] for c in json.loads(done.stdout)["checks"]}
    assert {name for name, state in found.items() if state == "ok"} >= {
        "modules",
        "identity",
        "disk",
        "workers",
        "wasm",
        "mesh",
    }


def test_pipeline_runs_and_its_programs_get_a_clean_environment(serving: BareRoot) -> None:
    (serving.path / "opt/step.wasm").write_bytes(build("files").read_bytes())
    (serving.path / "opt/bare.yaml").write_text(PIPELINE)
    applied = serving.run(PROGRAM, "pipeline", "apply", "/opt/bare.yaml")
    assert applied.returncode == 0, applied.stderr + applied.stdout

    def environment(name: str) -> dict[str, str] | None:
        file = serving.path / "tmp" / name
        lines = file.read_text().splitlines() if file.exists() else []
        return dict(line.split("=", 1) for line in lines) or None

    for name in ("logread.env", "step.env"):
        found = eventually(lambda name=name: environment(name), name)
        assert not [k for k in found if k.startswith(("LD_", "_PYI", "SSL_"))], found
    shown = eventually(
        lambda: "read the host: refused" in (s := serving.run(PROGRAM, "logs", "bare").stdout) and s, "the module's log"
    )
    assert "WORKED" not in shown
    status = json.loads(serving.run(PROGRAM, "status", "--json").stdout)
    assert [n["alive"] for n in status["nodes"]] == [True], status


def test_host_names_are_looked_up(bare: BareRoot, tmp_path: Path) -> None:
    (bare.path / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    names = [sys.executable, str(Path(__file__).with_name("name_server.py"))]
    with subprocess.Popen(bare.beside(*names), stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        agent_process = bare.start(
            PROGRAM, "serve", "--new", "--join", "member.example.test:7946", "--port", "7950", log=tmp_path / "log"
        )
        try:
            assert server.stdout.readline() == "asked for member.example.test\n"
            assert server.stdout.readline() == "somebody connects to 127.0.0.7\n"
        finally:
            agent_process.terminate()
            agent_process.wait(30)
            server.kill()
