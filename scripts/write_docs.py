"""Writes the parts of the docs that come from the code: the table of keys in docs/pipelines.md.

python scripts/write_docs.py [--check]     --check: write nothing, exit code 1 where a part is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agent.definitions.schema import markdown  # noqa: E402

PAGE = ROOT / "docs/pipelines.md"
BEGIN = "<!-- keys: written by scripts/write_docs.py from agent/definitions/keys.py -->\n"
END = "<!-- end of keys -->"


def renewed(text: str) -> str:
    """The page with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{markdown()}{END}{after}"


def main() -> int:
    """Write or check."""
    text = PAGE.read_text()
    if renewed(text) == text:
        return 0
    if "--check" in sys.argv:
        print(f"{PAGE.relative_to(ROOT)} is out of date: python scripts/write_docs.py", file=sys.stderr)
        return 1
    PAGE.write_text(renewed(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
