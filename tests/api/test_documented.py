"""`docs/api.md` has every route, with who may use it."""

from __future__ import annotations

import re
from pathlib import Path

from agent.api.routes import all_routes

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def test_the_page_has_every_route_and_no_other() -> None:
    routes = {f"{method} {r.path}" for r in all_routes() for method in (r.methods or ()) if method != "HEAD"}
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    documented = {entry.split("?")[0] for row in rows for entry in re.findall(r"`([^`]+)`", row)}
    assert documented == routes
