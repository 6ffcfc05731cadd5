"""The report of a run on devices (hil/report.py)."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hil.report import BEGIN, END, Report, Subject, main


@pytest.fixture
def report() -> Report:
    made = Report(made="2026-11-28T16:00:00Z", version="0.1.0", machine="x86_64, 2 cores")
    made.device(Subject(name="ap", mark="emulated", arch="armv7", what="qemu", slower=12.34))
    made.device(Subject(name="hall", mark="form only", arch="aarch64", what="no | package"))
    made.add("ap", "memory at rest", 38.61, "MB", 40.0)
    made.add("ap", "back in the mesh", 25.0, "s", 20.0, note="a busy\nmachine")
    made.add("ap", "removed without a trace")
    made.add("hall", "installs")
    return made


def test_markdown_marks_each_row_and_judges_goals(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path)
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert "| ap | emulated | armv7 | qemu | 12.3 × |" in lines
    assert "| hall | form only | aarch64 | no \\| package | – |" in lines
    assert "| ap | emulated | memory at rest | 38.6 MB | ≤ 40 MB: met |  |" in lines
    assert "| ap | emulated | back in the mesh | 25 s | ≤ 20 s: **missed** | a busy machine |" in lines
    assert "| ap | emulated | removed without a trace | yes |  |  |" in lines
    assert "| hall | form only | installs | – |  |  |" in lines


def test_json_holds_the_same_report(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path)
    assert msgspec.json.decode((tmp_path / "report.json").read_bytes(), type=Report) == report


def test_report_replaces_what_a_page_has_between_its_marks(report: Report, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n{BEGIN}\nold\n{END}\nrest\n")
    report.write(tmp_path)
    assert main([str(tmp_path / "report.json"), str(page)]) == 0
    text = page.read_text()
    assert text.startswith(f"# Page\n{BEGIN}\nRun of 2026-11-28T16:00:00Z")
    assert text.endswith(f"\n{END}\nrest\n")
    assert "old" not in text


def test_page_without_marks_stays_as_it_is(report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n")
    report.write(tmp_path)
    assert main([str(tmp_path / "report.json"), str(page)]) == 1
    assert "does not have the marks" in capsys.readouterr().err
    assert page.read_text() == "# Page\n"
