"""`docs/errors.md` has every code that the source can give, and no other."""

from __future__ import annotations

import re

from agent.model.health import WARNING_CODES
from tests.health.codes import ROOT, source_codes

PAGE = (ROOT / "docs" / "errors.md").read_text()
ROWS = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| `")]
DOCUMENTED = [code for row in ROWS for code in re.findall(r"`([^`]+)`", row[0])]


def test_every_code_in_the_source_is_documented() -> None:
    missing = {code: places for code, places in source_codes().items() if code not in DOCUMENTED}
    assert missing == {}


def test_every_documented_code_is_in_the_source_once() -> None:
    assert sorted(set(DOCUMENTED) - set(source_codes())) == []
    assert sorted(DOCUMENTED) == sorted(set(DOCUMENTED))


def test_the_codes_that_notices_take_are_those_of_the_page() -> None:
    warnings = PAGE.partition("## Warnings")[2].partition("\n## ")[0]
    assert sorted(WARNING_CODES) == sorted(re.findall(r"^\| `([^`]+)`", warnings, re.MULTILINE))


def test_every_row_says_what_it_means_and_what_to_do() -> None:
    assert all(cell.strip() for row in ROWS for cell in row)
