"""The parts of the self-test one after the other."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from agent.config import Config
from agent.errors import EdgeError, in_words
from agent.selftest import parts, software
from agent.selftest.seen import Seen


class Part(NamedTuple):
    """One part: its check gets the configuration and an empty folder, and returns what it saw in words.

    It returns None where there is nothing to check here and raises EdgeError where something does not work, which fails
    the self-test unless the part is `optional`.
    """

    name: str
    check: Callable[[Config, Path], Awaitable[str | None]]
    optional: bool = False


PARTS = (
    Part("modules", software.modules),
    Part("identity", parts.identity),
    Part("disk", parts.disk),
    Part("workers", software.workers),
    Part("wasm", parts.engine),
    Part("mesh", parts.mesh),
    Part("mdns", parts.mdns, optional=True),
)


async def run_parts(config: Config, chosen: Sequence[Part] = PARTS) -> AsyncIterator[Seen]:
    """The result of each part, as it ends; an exception that no part expects is a failure too."""
    for part in chosen:
        began = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix="edge-agent-selftest-", dir=_place(config)))
        try:
            text = await part.check(config, folder)
        except EdgeError as e:
            seen = Seen(check=part.name, state="warn" if part.optional else "fail", text=e.message, remedy=e.hint)
        except Exception as e:  # noqa: BLE001  the report of a broken installation must reach its end
            text = in_words(e) if isinstance(e, OSError) else f"{type(e).__name__}: {e}"
            seen = Seen(check=part.name, state="fail", text=text, remedy="edge-agent bugreport packs what helps")
        else:
            state, words = ("info", "not checked here") if text is None else ("ok", text)
            seen = Seen(check=part.name, state=state, text=words)  # type: ignore[arg-type]
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        seen.ms = round((time.monotonic() - began) * 1000, 1)
        yield seen


def _place(config: Config) -> Path | None:
    """The folder for files of the self-test: the disk of the state folder, else the system's folder of temporary files."""
    try:
        probe = tempfile.mkdtemp(prefix="edge-agent-selftest-", dir=config.state)
    except OSError:
        return None
    Path(probe).rmdir()
    return config.state
