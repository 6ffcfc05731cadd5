"""wifi-join's table of forms: each example beside a form gives what stands behind it, and lines that guests write give nothing."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FILTERS = Path(__file__).resolve().parents[2] / "filters"
TABLE = (FILTERS / "wifi-join" / "forms.h").read_text()
EXAMPLES = re.findall(r"^\s*(?:/\*|\*) ex: ((?:--\w+ )*)(.*) => (.*?)(?: \*/)?$", TABLE, re.MULTILINE)
MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")

Run = Callable[..., list[Any]]


@pytest.fixture(scope="session")
def run(checked: Path) -> Run:
    """Run the native filter on lines with its arguments; returns what it prints."""

    def go(lines: str, *args: str) -> list[Any]:
        done = subprocess.run([checked, *args], input=lines.encode(), capture_output=True, check=False, timeout=20)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return go


def short(event: dict[str, Any]) -> str:
    """An event as the examples write it."""
    data = dict(event["data"])
    words = [event["type"].rpartition(".")[2], data.pop("mac", ""), data.pop("interface", "")]
    words += [f"@{event['access_point']}"] if "access_point" in event else []
    words += [f"{key}={value}" for key, value in data.items()]
    return " ".join(w for w in words if w)


def test_every_vendor_has_examples() -> None:
    names = set(re.findall(r'\{"([a-z-]+)", ', TABLE))
    assert len(EXAMPLES) > 60
    assert names >= {
        "hostapd",
        "unifi-cef",
        "mikrotik",
        "asus",
        "omada",
        "meraki",
        "cisco-ios",
        "aruba",
        "fortinet",
        "fritzbox",
    }
    assert all(MAC.search(wanted) or wanted.startswith(("restarted", "nothing")) for _, _, wanted in EXAMPLES)


@pytest.mark.parametrize(("args", "line", "wanted"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_beside_a_form(args: str, line: str, wanted: str, run: Run) -> None:
    assert [short(e) for e in run(line + "\n", *args.split())] == ([] if wanted == "nothing" else [wanted])
