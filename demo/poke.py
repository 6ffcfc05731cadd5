"""`edge-agent demo poke`: lets a phone join the Wi-Fi of a demo that runs in another shell."""

from __future__ import annotations

import os
import time
from pathlib import Path

from agent.cli import console, print_json
from agent.errors import NotFound
from demo import phone, story
from demo.agents import Agents
from demo.drawing import result
from demo.environment import find_running


def poke_running(device: str | None, *, as_json: bool) -> None:
    """Let a device join, wait until all events have ended, and print the results.

    A new name is first made known. Raises NotFound if no demo runs, DemoError if an event does not end in time.
    """
    running = find_running()
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - running.started / os.sysconf("SC_CLK_TCK")
    agents = Agents(Path(running.folder), time.monotonic() - age)
    if not agents.log.exists():
        raise NotFound("the demo is not ready yet", hint="wait until its shell shows the keys", code="demo.not-running")
    mac = _mac_of(agents, device) if device else phone.new_mac()
    arrival = story.join(agents, mac, device or "")
    story.settle(agents, arrival)
    if as_json:
        print_json(story.summary(agents, arrival))
    else:
        console().print(result(agents, arrival))


def _mac_of(agents: Agents, name: str) -> str:
    mac = agents.device(name)
    if not mac:
        mac = phone.new_mac()
        agents.know(name, mac)
    return mac
