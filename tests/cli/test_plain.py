"""Words of other nodes on the operator's terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from agent.cli.output import escape
from agent.errors import Refused
from agent.terminal import report

EVIL = "door\x1b]52;c;cm0gLXJm\x07\x9b31m[red]\u202eexe\x00\r"


def test_text_of_another_node_cannot_control_the_terminal() -> None:
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system="truecolor", width=200, highlight=False).print(escape(EVIL))
    shown = out.getvalue()
    assert not any(c in shown for c in "\x1b\x9b\u202e\x00\x07\r")
    assert "[red]" in shown
    assert escape("tab\tand\nline, ä €") == "tab\tand\nline, ä €"


def test_error_of_another_node_cannot_control_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["edge-agent", "nodes"])
    report(Refused(EVIL, hint=EVIL, code=EVIL))
    assert not any(c in capsys.readouterr().err for c in "\x1b\x9b\u202e\x00\x07\r")
