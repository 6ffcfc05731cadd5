"""A whole agent that is killed while `once` programs run: its next run takes them up for the same events."""

from __future__ import annotations

import json

import pytest

from agent.executors.once import ADOPTED
from tests.executors.crashing import SHELL
from tests.executors.docker_image import IMAGE, busybox_image
from tests.executors.wasm_programs import build
from tests.story.building import FILTERS, Building, Node, arrive, building
from tests.story.pipelines import NAME

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.timeout(240)]

COMMAND = json.dumps(["/bin/sh", "-c", SHELL, "sh", "0"])
PIPELINE = f"""\
version: 1
name: {NAME}
steps:
  wifi:
    tail: auto
    wasm: {{module: {FILTERS}/wifi-join.wasm}}
    emit: [wifi.client.joined, wifi.client.left]
  container:
    after: wifi
    when: "type == 'wifi.client.joined'"
    docker: {{image: "{IMAGE}", args: {COMMAND}, once: true, timeout: 5m}}
  process:
    after: wifi
    when: "type == 'wifi.client.joined'"
    process: {{command: {COMMAND}, once: true, timeout: 5m}}
  module:
    after: wifi
    when: "type == 'wifi.client.joined'"
    wasm: {{module: {build("once")}, args: [wait, "0"], once: true, timeout: 5m}}
"""
STEPS = {"container": "docker", "process": "process", "module": "wasm"}
"""The steps and their folders in `scratch`."""


def test_next_run_of_a_killed_agent_adopts_its_programs() -> None:
    busybox_image()
    with building() as b:
        box = b.add("box", labels={"wifi-log": "true"})
        box.configure(policy={"docker": True, "process": True})
        b.start()
        b.apply(PIPELINE, box)
        arrive(box, [1])
        b.until("all programs have started", lambda: all(len(runs(box, step)) == 1 for step in STEPS))
        before = {step: runs(box, step) for step in STEPS}
        box.kill()
        go(box, "process")  # it ends while no agent runs
        box.start()
        box.wait()
        b.until("all are taken up", lambda: all(ADOPTED in log(box, step) for step in STEPS))
        for step in ("container", "module"):
            assert runs(box, step) == before[step]
            go(box, step)
        b.until("everything has ended", b.quiet, 60)
        check(b, box, before)


def check(b: Building, box: Node, before: dict[str, list[str]]) -> None:
    """Each event ran once, in one program; nothing of it is left."""
    b.check_sums()
    for step, tokens in before.items():
        (row,) = box.rows("step = ? AND ending != 'skipped'", step)
        assert (row["ending"], row["attempts"]) == ("delivered", 0)
        lines = log(box, step)
        assert lines.count(f"started {tokens[0]}") == lines.count("started") == lines.count("finished") == 1, lines
        assert not list((box.state / "scratch" / STEPS[step]).iterdir())


def runs(node: Node, step: str) -> list[str]:
    """The tokens of the programs of a step that have folders."""
    found = (node.state / "scratch" / STEPS[step]).glob("*/program/outputs/run.txt")
    return [text for file in found if (text := file.read_text().strip())]


def go(node: Node, step: str) -> None:
    """Let the programs of a step end."""
    for inputs in (node.state / "scratch" / STEPS[step]).glob("*/program/inputs"):
        (inputs / "go").touch()


def log(node: Node, step: str) -> str:
    """The log of a step."""
    done = node.cli("logs", f"{NAME}/{step}")
    assert done.code == 0, done.err
    return done.out
