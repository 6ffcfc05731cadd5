"""Errors of programs in words, exit codes, and terminals without some characters."""

from __future__ import annotations

import errno
import io
import json
import sys
from collections.abc import Callable

import pytest

from agent.errors import EdgeError, NotFound, listen_hint
from agent.terminal import run_program, show_everywhere


def ended(program: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """The exit code and stderr."""
    with pytest.raises(SystemExit) as end:
        run_program("edge-agent", program)
    return end.value.code, capsys.readouterr().err


def failing(error: BaseException) -> Callable[[], object]:
    def program() -> None:
        raise error

    return program


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (NotFound("there is no x", hint="list them"), 6, "error: there is no x [not-found]\n hint: list them\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 1, "error: /x/y: Permission denied [system]"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "hint: free space on that disk"),
        (
            ExceptionGroup("two", [ValueError("a"), FileExistsError(errno.EEXIST, "File exists", "/x")]),
            1,
            "/x: File exists",
        ),
        (ModuleNotFoundError("No module", name="sqlalchemy.orm"), 6, "pip install 'edge-agent[sink]'"),
        (ModuleNotFoundError("No module", name="cv2"), 6, "pip install 'edge-agent[camera]'"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), 2, "not valid text"),
        (ZeroDivisionError("oh"), 1, "internal error in edge-agent: ZeroDivisionError: oh [internal]"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_every_end_is_an_exit_code_and_words(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, err = ended(failing(error), capsys)
    assert (found, said in err, "Traceback" in err) == (code, True, False)


def test_an_unexpected_error_is_raised_for_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run_program("edge-agent", failing(ZeroDivisionError()))


def test_an_error_is_json_when_json_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["edge-agent", "--json"])
    _, err = ended(failing(EdgeError("é", hint="h")), capsys)
    assert json.loads(err)["error"] == {"code": "internal", "message": "é", "hint": "h"}


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_text_that_the_terminal_lacks_is_replaced(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    show_everywhere()
    print("✓ wlan0 → 東 \udcff")
    stream.flush()
    stream.buffer.seek(0)
    shown = stream.buffer.read().decode(encoding)
    assert shown == ("✓ wlan0 → 東 ?\n" if encoding == "utf-8" else "+ wlan0 > ? ?\n")


def test_a_port_that_cannot_be_had_has_a_remedy_for_each_reason() -> None:
    hints = {
        listen_hint(n, "mesh.port", "mesh.listen") for n in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL, 0)
    }
    assert len(hints) == 4
    assert "CAP_NET_BIND_SERVICE" in listen_hint(errno.EACCES, "mesh.port", "mesh.listen")
