"""docs/write-your-own-filter.md: its commands run in order and give the output on the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import load_pipeline

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "write-your-own-filter.md").read_text()
BLOCKS = re.findall(r"^```(sh|text|yaml)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_command_of_the_page_gives_the_shown_output(tmp_path: Path) -> None:
    (tmp_path / "filters").symlink_to(ROOT / "filters")
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ZIG_GLOBAL_CACHE_DIR": str(ROOT / ".cache" / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(ROOT / ".cache" / "zig"),
        "COLUMNS": "200",
    }
    shown, commands = "", 0
    for kind, text in BLOCKS:
        if kind == "sh":
            done = subprocess.run(
                ["bash", "-euc", text], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=200
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
            shown = done.stdout
            commands += 1
        elif kind == "text":
            assert text.strip() in shown
    assert commands >= 7


def test_the_pages_pipeline_loads() -> None:
    [pipeline] = [text for kind, text in BLOCKS if kind == "yaml"]
    assert load_pipeline(pipeline).name == "doors"
