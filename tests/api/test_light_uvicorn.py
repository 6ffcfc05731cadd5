"""The API's server does not load uvicorn's command line, and leaves uvicorn whole for other users of it."""

from __future__ import annotations

import subprocess
import sys


def seen(code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def test_a_server_loads_no_command_line() -> None:
    code = "import sys, agent.api.server; print([m for m in ('click', 'multiprocessing', 'uvicorn.main') if m in sys.modules])"
    assert seen(code) == "[]"


def test_uvicorn_is_whole_for_others() -> None:
    code = (
        "import agent.api.server, uvicorn, uvicorn.main; from uvicorn.server import Server; "
        "print(uvicorn.Server is Server, uvicorn.main.Server is Server, callable(uvicorn.main.run))"
    )
    assert seen(code) == "True True True"


def test_an_earlier_import_stays_as_it_is() -> None:
    code = "import uvicorn; run = uvicorn.run; import agent.api.server; print(uvicorn.run is run)"
    assert seen(code) == "True"
