"""`edge-agent demo poke`: a phone joins the Wi-Fi of the demo that runs in another shell."""

from __future__ import annotations

import os
import time
from pathlib import Path

from agent.cli.output import console, print_json
from agent.errors import NotFound
from demo import phone, story
from demo.agents import House
from demo.drawing import result
from demo.environment import find_running


def poke_running(device: str | None, *, as_json: bool) -> None:
    """Let a device join, wait until all has settled, and print what came of it.

    A name that the house does not know yet is made known first. Raises NotFound where no demo runs, DemoError when it
    does not settle.
    """
    running = find_running()
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - running.started / os.sysconf("SC_CLK_TCK")
    house = House(Path(running.folder), time.monotonic() - age)
    if not house.log.exists():
        raise NotFound("the demo is not ready yet", hint="wait until it says so", code="demo.not-running")
    mac = _mac_of(house, device) if device else phone.new_mac()
    arrival = story.join(house, mac, device or "")
    story.settle(house, arrival)
    if as_json:
        print_json(story.summary(house, arrival))
    else:
        console().print(result(house, arrival))


def _mac_of(house: House, name: str) -> str:
    mac = house.device(name)
    if not mac:
        mac = phone.new_mac()
        house.know(name, mac)
    return mac
