"""`edge-agent selftest`: exercise the installed agent on this device."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from agent.cli import context
from agent.cli.context import JsonFlag, single

if TYPE_CHECKING:
    from agent.config import Config
    from agent.selftest import Seen


def selftest(json: JsonFlag = False) -> None:
    """Exercise what an agent consists of on this device, and say what does not work.

    Imports every module, makes and checks keys, writes to the disk of the state folder, starts each kind of worker, runs
    WASM programs up to their limits, lets two nodes meet over the loopback interface, hears its own announcement, and looks
    at the clock, the container engine and the cameras. Needs no running agent, changes nothing, and takes some seconds.
    Ends with 1 when something fails; warnings end with 0.
    """
    from agent.config import load_config
    from agent.platforms import placed

    seen = asyncio.run(_run(placed(load_config(context.chosen.config)), shown=not json))
    failed = [s for s in seen if s.state == "fail"]
    if json:
        import msgspec

        from agent.cli.output import print_json

        print_json({"ok": not failed, "checks": [msgspec.to_builtins(s) for s in seen]})
    else:
        from agent.cli.output import say

        say(f"[bold red]{len(failed)} failed[/]" if failed else "[green]this device can run an agent[/]")
    raise typer.Exit(1 if failed else 0)


async def _run(config: Config, *, shown: bool) -> list[Seen]:
    from agent.cli.doctor_checks import Device, cameras, clock, docker
    from agent.platforms import detect
    from agent.selftest import Seen, run_parts

    out = []
    async for seen in run_parts(config):
        out.append(seen)
        if shown:
            _show(seen)
    device = Device(config, False, detect(docker_host=config.docker.host))
    for check in (clock, docker, cameras):
        for found in check(device):
            seen = Seen(check=found.check, state=found.state, text=found.text, remedy=found.remedy)
            out.append(seen)
            if shown:
                _show(seen)
    return out


def _show(seen: Seen) -> None:
    from agent.cli.doctor import MARKS
    from agent.cli.output import escape, say

    remedy = f"\n  [dim]→ {escape(seen.remedy)}[/]" if seen.remedy and seen.state != "ok" else ""
    took = f" [dim]{seen.ms / 1000:.1f} s[/]" if seen.ms >= 100 else ""
    say(f"{MARKS[seen.state]} {seen.check:<9} {escape(seen.text)}{took}{remedy}")


app = single(selftest, examples=("edge-agent selftest", "sudo edge-agent selftest --json | jq .ok"))
