"""Words of other nodes on the operator's terminal."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from agent.api import results
from agent.cli.output import escape
from agent.cli.status_view import view
from agent.errors import Refused
from agent.terminal import report
from tests.api.memory import STATUS

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


def _replaced(value: Any) -> Any:
    """The value with each text replaced by one that is broken markup and clears the screen."""
    if isinstance(value, dict):
        return {key: _replaced(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_replaced(v) for v in value]
    return "[/x]\x1b[2J" if isinstance(value, str) else value


def test_status_of_another_node_is_drawn_whatever_its_texts_are() -> None:
    told = _replaced(msgspec.to_builtins(STATUS))
    for step in (s for p in told["pipelines"] for s in p["steps"]):
        step["state"] = "failing"
    out = io.StringIO()
    Console(file=out, width=100).print(view(msgspec.convert(told, results.Status)))
    drawn = out.getvalue()
    assert drawn.count("[/x]") > 30
    assert "\x1b" not in drawn
