"""Plain English (docs and code alike): no odd words, no "who" or "what" as a subject, short test names."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ODD = {
    "a standard term for `mend`": r"\bmend(s|ed|ing)?\b",
    "package, mesh or building for `house`": r"\bhouses?\b",
    "a noun for `ones`": r"\bones\b",
    "a noun for `whoever`, `whatever`": r"\bwhoever\b|\bwhatever (?!the\b|it\b|they\b|its\b|an?\b|happens\b)",
    "nothing for `as it were`": r"\bas it were\b",
    "`an own X` or a plain `X` for `of its own`": r"\bof (its|their|his|her|our|one's|\w+'s) own\b",
    "`again` for `anew`": r"\banew\b",
    "`forever` or a limit for `for ever`": r"\bfor ever\b",
    "a plain refusal for `says no`": r"\bsays? no\b",
    "`plainly` for `in so many words`": r"\bin so many words\b",
    "a short word for an archaic word": r"\b(thereby|whereby|hence(forth)?|lest|wherein|thus|upon|nought|shall|ought|amid|betwixt)\b",
    "a short word for a literary word": r"\b(albeit|whilst|amongst|hitherto|whereof|merely|unto)\b",
    "a pronoun for an old adverb": r"\b(there(in|of|upon)|thence|here(by|in|with))\b",
    "`because there is no X` for `for want of X`": r"\bfor want of\b",
    "`not available` for `cannot be had`": r"\bbe had\b",
    "`although` for `in spite of`": r"\bin spite of\b",
    "`check` for `look`": r"\bbe looked at\b|\bbetween two looks\b",
    "`revoked` for `taken back`": r"\b(took|taken) back\b",
    "`invalid X` for `an X that is none`": r"\bthat (is|are|was) none\b",
    "`a value that is not X` for `what is no(t) X`": r"\bwhat is (no|not|left|here|there)\b",
    "`the previous run` for `an earlier life`": r"\bearlier life\b",
    "a noun as the subject for `who` and `what`": r"(?:^|[.:;!] |\"\"\"|^\s*# )(Who|What) (?!if\b)[^?|]*$",
}
SUFFIXES = {".py", ".md", ".html", ".c", ".h", ".css", ".js", ".sh", ".toml", ".yaml", ".txt", ".j2"}
LONGEST_NAME = 60
QUOTES = {"tests/test_plain_words.py"}


def text_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    paths = [p for p in listed if Path(p).suffix in SUFFIXES or Path(p).name == "Makefile"]
    return sorted(
        p for p in paths if "/data/" not in p and "/corpus/" not in p and p not in QUOTES and (ROOT / p).is_file()
    )


@pytest.mark.parametrize("path", text_files())
def test_words_are_plain(path: str) -> None:
    found = [
        f"{path}:{number}: use {instead}: {line.strip()[:120]}"
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        for instead, odd in ODD.items()
        if re.search(odd, line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", [p for p in text_files() if p.startswith("tests/") and p.endswith(".py")])
def test_names_of_tests_are_short(path: str) -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = [n.name for n in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(n, functions)]
    long = [name for name in names if name.startswith("test_") and len(name) > LONGEST_NAME]
    assert not long, f"at most {LONGEST_NAME} characters: {', '.join(long)}"
