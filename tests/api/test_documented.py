"""`docs/api.md` has every route and every field, as the table of routes and the structs have them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from agent.api.routes import ROUTES

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/write_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_page_has_every_route_and_no_other() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    documented = {r.split("?")[0] for r in re.findall(r"^\| `((?:GET|POST|DELETE) [^`]+)`", page, re.MULTILINE)}
    assert documented == {f"{r.method} {r.path}" for r in ROUTES}
