"""docs/access-points.md: its commands give the output on the page, and what it says is recognised is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import load_pipeline

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "access-points.md").read_text()
BLOCKS = re.findall(r"^```(sh|text|yaml|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_our_commands_of_the_page_give_the_shown_output(filters: Path, tmp_path: Path) -> None:
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    shown, commands = "", 0
    for kind, text in BLOCKS:
        if kind == "sh":
            done = subprocess.run(
                ["bash", "-euc", text], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
            shown, commands = done.stdout, commands + 1
        elif kind == "text" and shown:
            assert text.strip() in shown
            shown = ""
    assert commands >= 2


def test_the_pages_settings_are_read() -> None:
    pipeline, arguments = (text for kind, text in BLOCKS if kind == "yaml")
    assert load_pipeline(pipeline).name == "arrivals"
    step = pipeline.replace("    wasm: {module: edge/wifi-join}\n", arguments)
    assert load_pipeline(step).steps[0].task["wasm"]["args"][0] == "--form"


def test_the_pages_program_is_python() -> None:
    for program in (text for kind, text in BLOCKS if kind == "python"):
        compile(program, "access-points.md", "exec")


@pytest.mark.parametrize("page", ["README.md", "docs/README.md", "docs/pipelines.md"])
def test_the_page_is_linked(page: str) -> None:
    assert "access-points.md" in (ROOT / page).read_text()


def test_the_page_has_every_form_of_the_filter() -> None:
    source = (ROOT / "filters" / "wifi-join" / "forms.h").read_text()
    forms = set(re.findall(r'\{"([a-z-]+)", ', source))
    assert len(forms) > 10
    assert {form for form in forms if f"`{form}`" not in PAGE} == set()


def test_the_page_has_the_placeholders_of_forms(filters: Path) -> None:
    for placeholder in re.findall(r"^\| `(\{\w+\})` \|", PAGE, re.MULTILINE):
        text = {"{mac}": "{mac}", "{end}": "{mac} x{end}"}.get(placeholder, "{mac} " + placeholder)
        command = [sys.executable, "-c", "from agent.cli import main; main()", "filter", "try", "--json", "--form"]
        done = subprocess.run(
            [*command, f"left:wlctl: gone {text}", "a wlctl: gone 02:00:00:00:00:01 x"], capture_output=True, text=True,
            check=False, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
