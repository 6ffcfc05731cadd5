"""The agent as a service of a machine with a real systemd: the files of packaging/systemd, and the agent of this checkout.

The program at /opt/edge-agent/current is the frozen tree that EDGE_AGENT_TREE names. Without the variable it is a script that
starts the machine's own Python with the packages of this checkout: it needs no build, and a tree of older sources is not tested by
mistake. The unit, its user and its sandbox are real in both cases.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hil.standins import SystemdMachine

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging/systemd"
TREE = "/opt/edge-agent/versions/0"
FILTERS = "/opt/filters"
PATIENCE = 90.0
"""Seconds for anything on a busy machine."""
_LAUNCHER = f"""#!/bin/sh
export PYTHONPATH={TREE}/lib:{TREE}/packages PYTHONDONTWRITEBYTECODE=1
exec python3 -P -c 'from agent.cli import main; main()' "$@"
"""


def frozen() -> Path | None:
    """The frozen tree to test."""
    named = os.environ.get("EDGE_AGENT_TREE")
    return Path(named) if named else None


def mounts() -> dict[str, Path]:
    """The program and the WASM modules, as the machine sees them."""
    if (tree := frozen()) is not None:
        return {TREE: tree, FILTERS: ROOT / "build/filters"}
    import msgspec

    # The packages of the tests' environment, not this environment's own folder: that may only name them.
    packages = Path(msgspec.__file__).parents[1]
    return {
        f"{TREE}/lib/agent": ROOT / "agent",
        f"{TREE}/lib/demo": ROOT / "demo",
        f"{TREE}/packages": packages,
        FILTERS: ROOT / "build/filters",
    }


class Service:
    """The service on a machine."""

    def __init__(self, machine: SystemdMachine) -> None:
        self.machine = machine
        if frozen() is None:
            machine.put(_LAUNCHER.encode(), f"{TREE}/edge-agent", mode=0o755)
        machine.run(f"ln -s {TREE} /opt/edge-agent/current").text()
        machine.run("ln -s /opt/edge-agent/current/edge-agent /usr/local/bin/edge-agent").text()
        machine.put(UNIT / "edge-agent.service", "/etc/systemd/system/edge-agent.service")
        machine.put(UNIT / "edge-agent.sysusers", "/usr/lib/sysusers.d/edge-agent.conf")
        machine.run("systemd-sysusers").text()

    def start(self, config: str, *drop_ins: str) -> None:
        """Start it, and at each boot."""
        for name in drop_ins:
            self.machine.put(UNIT / f"edge-agent.service.d/{name}.conf", f"{DROP_INS}/{name}.conf")
        self.configure(config)
        self.machine.run("systemctl daemon-reload && systemctl enable edge-agent").text()
        self.systemctl("start")

    def systemctl(self, verb: str) -> None:
        """Run a verb of systemctl for the service; fails with the end of the journal."""
        done = self.machine.run(["systemctl", verb, "edge-agent"], timeout=PATIENCE)
        assert done.code == 0, f"{done.stderr}\n{self.journal('-n', '20')}"

    def configure(self, text: str) -> None:
        self.machine.put(text.encode(), "/etc/edge-agent/config.yaml")

    def drop_in(self, name: str, text: str) -> None:
        """Add a drop-in, or remove it where the text is empty."""
        if text:
            self.machine.put(text.encode(), f"{DROP_INS}/{name}.conf")
        else:
            self.machine.run(["rm", f"{DROP_INS}/{name}.conf"]).text()
        self.machine.run("systemctl daemon-reload").text()

    def show(self, property: str) -> str:
        """A property of the unit."""
        return self.machine.run(["systemctl", "show", "-P", property, "edge-agent"]).text().strip()

    def cli(self, *words: str) -> Any:
        """The answer of a command with --json."""
        return json.loads(self.machine.run(["edge-agent", *words, "--json"], timeout=PATIENCE).text())

    def status(self) -> dict[str, Any] | None:
        """The agent's status, None while it does not answer."""
        done = self.machine.run(["edge-agent", "status", "--json"])
        found: dict[str, Any] | None = None if done.code else json.loads(done.stdout)
        return found

    def node(self) -> str:
        """The id of the node."""
        found = self.status()
        assert found is not None
        return str(found["node"]["id"])

    def processes(self) -> list[str]:
        """The command lines of all processes of the service's user."""
        done = self.machine.run(["ps", "-u", "edge-agent", "-o", "args="])
        return done.stdout.splitlines()

    def setting(self, key: str) -> Any:
        """The value in force of a key of the configuration."""
        return self.cli("config", "show", "--running")[key]

    def apply(self, text: str) -> None:
        """Apply a pipeline."""
        self.machine.put(text.encode(), "/run/pipeline.yaml")
        self.machine.run("edge-agent pipeline apply /run/pipeline.yaml", timeout=PATIENCE).text()

    def read(self, step: str) -> None:
        """Wait until the step follows the machine's journal: a new source reads from its end on."""

        def hears() -> bool:
            self.machine.run(["logger", "a line without a device"]).text()
            sources = (self.status() or {"sources": []})["sources"]
            return any(f"/{step} " in s["name"] and s.get("lines") for s in sources)

        self.until(f"{step} reads", hears)

    def joins(self, device: int) -> None:
        """A device joins the Wi-Fi: its line comes into the machine's journal."""
        line = f"phy1-ap0: AP-STA-CONNECTED 3c:22:fb:5e:01:{device:02x} auth_alg=sae"
        self.machine.run(["logger", "-p", "daemon.notice", "-t", "hostapd", line]).text()

    def sleeper(self) -> str:
        """The pid of `sleep 7777`, empty where there is none."""
        return self.machine.run(["pgrep", "-u", "edge-agent", "-x", "-f", "/bin/sleep 7777"]).stdout.strip()

    def journal(self, *options: str) -> str:
        """The lines of the service."""
        return self.machine.run(["journalctl", "--no-pager", "-o", "cat", "-u", "edge-agent", *options]).text()

    def until(self, what: str, look: Callable[[], object]) -> None:
        """Wait until `look()` is true; fails with the end of the journal."""
        end = time.monotonic() + PATIENCE
        while not look():
            assert time.monotonic() < end, f"{what}: not in time\n{self.journal('-n', '40')}"
            time.sleep(0.1)

    def value(self, *drop_ins: str) -> float:
        """The exposure that systemd-analyze finds for the unit with these drop-ins alone."""
        # Another name: the drop-ins of the installed unit would count too.
        unit = f"/run/analysed/{'-'.join(drop_ins) or 'base'}.service"
        self.machine.put((UNIT / "edge-agent.service").read_bytes(), unit)
        for name in drop_ins:
            self.machine.put(UNIT / f"edge-agent.service.d/{name}.conf", f"{unit}.d/{name}.conf")
        done = self.machine.run(["systemd-analyze", "security", "--offline=true", "--no-pager", unit])
        found = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", done.stdout)
        assert found, done
        return float(found[1])


DROP_INS = "/etc/systemd/system/edge-agent.service.d"
