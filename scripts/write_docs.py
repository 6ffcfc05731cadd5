"""Writes the parts of the docs that come from the code: the keys in docs/pipelines.md, routes and fields in docs/api.md.

python scripts/write_docs.py [--check]     --check: write nothing, exit code 1 where a part is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import api_page  # noqa: E402
import pipelines_page  # noqa: E402

PARTS = (
    ("docs/pipelines.md", "keys", "agent/model/pipeline.py and agent/model/task.py", pipelines_page.keys),
    ("docs/api.md", "routes", "agent/api/routes.py", api_page.routes),
    ("docs/api.md", "fields", "agent/api/requests.py and agent/api/results/", api_page.fields),
)
"""For each part: its page, its name, the source, and the function that makes it."""


def renewed(text: str, name: str, source: str, made: str) -> str:
    """The page with the updated part; raises ValueError if the page has no place for it."""
    begin, end = f"<!-- {name}: written by scripts/write_docs.py from {source} -->\n", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, also, after = rest.partition(end)
    if not (found and also):
        raise ValueError(f"the page has no place for {name}: {begin}")
    return f"{before}{begin}{made}{end}{after}"


def main() -> int:
    """Write or check."""
    code = 0
    for page, name, source, make in PARTS:
        text = (ROOT / page).read_text()
        made = renewed(text, name, source, make())
        if made == text:
            continue
        if "--check" in sys.argv:
            print(f"{page} is out of date; run: python scripts/write_docs.py", file=sys.stderr)
            code = 1
        else:
            (ROOT / page).write_text(made)
    return code


if __name__ == "__main__":
    sys.exit(main())
