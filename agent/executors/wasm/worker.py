"""One WASM worker, killed on any overrun of a limit; and the compiler in a child process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from agent.children import Child, TooLarge, worker_command
from agent.environment import clean_environment
from agent.errors import StepFailed
from agent.executors.contract import broken
from agent.executors.folders import outputs_failure
from agent.executors.wasm.child import COMPILE_SECONDS, GRACE, Reply, Request
from agent.executors.wasm.sandbox import Outcome, Take, invalid, nothing
from agent.executors.worker_program import PIECE

LOOK = 0.05
"""Seconds between looks at the outputs folder of a running program."""
LOAD = 60.0
"""Seconds that a compiled module may take to load: a slow disk, or a parsing interpreter."""
_MODULE, _SUBCOMMAND = "agent.executors.wasm.child", "wasm-child"
_REPLIES = msgspec.msgpack.Decoder(Reply)


async def compile_in_child(engine: str, source: Path, target: Path) -> None:
    """Check and compile a module in a child process; raises StepFailed (final) where the module cannot run here."""
    process = await asyncio.create_subprocess_exec(
        *worker_command(_MODULE, _SUBCOMMAND, "compile", engine, str(source), str(target)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_environment(),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(COMPILE_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        raise invalid(f"compiling the module took more than {COMPILE_SECONDS} s") from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode != 0:
        raise invalid(f"the compiler died with {process.returncode}: {err[-300:].decode(errors='replace')}")
    reply = msgspec.json.decode(out, type=Reply)
    if reply.code:
        raise invalid(reply.text) if reply.code == "wasm.invalid" else StepFailed(reply.text, code=reply.code)


class Worker:
    """A worker process; it answers one call at a time."""

    def __init__(self, engine: str, child: Child) -> None:
        self._engine = engine
        self._child = child
        self._loaded: set[Path] = set()
        self.spent = False
        """Whether it must not be used again."""
        self.since = 0.0
        """When it came back from its last call, in monotonic seconds."""

    @classmethod
    async def start(cls, engine: str) -> Worker:
        """Start a worker, in 70–100 ms; raises StepFailed."""
        try:
            return cls(engine, await Child.start(_MODULE, _SUBCOMMAND, "serve", engine))
        except OSError as e:
            raise broken(f"the WASM worker does not start: {e}", code="wasm.worker") from e

    @property
    def alive(self) -> bool:
        """Whether it still listens."""
        return self._child.alive

    async def load(self, compiled: Path) -> None:
        """Load a compiled module; raises StepFailed (`wasm.stale`) where it must be compiled again.

        After any other exception the worker must be closed.
        """
        if compiled in self._loaded:
            return
        try:
            async with asyncio.timeout(LOAD):
                reply = await self._answer(Request(str(compiled)))
        except TimeoutError:
            raise broken(f"the module does not load in {LOAD:g} s", code="wasm.worker") from None
        if reply.code:
            raise broken(reply.text, code=reply.code)
        self._loaded.add(compiled)

    async def call(
        self, request: Request, seconds: float, overrun: Callable[[], str] | None, take: Take = nothing
    ) -> Outcome:
        """Run a loaded module; after any exception the worker must be closed.

        `overrun` is called every LOOK seconds, in a thread: it returns the limit that the program's files overrun. `take`
        gets the output of the streams that the call follows, in pieces.
        """
        task = asyncio.ensure_future(self._ask(request, take))
        try:
            async with asyncio.timeout(seconds + GRACE):
                while not (await asyncio.wait({task}, timeout=LOOK))[0]:
                    if overrun and (limit := await asyncio.to_thread(overrun)):
                        raise outputs_failure(limit, "wasm")
        except TimeoutError:
            text = f"the program ran longer than its limit of {seconds:g} s"
            raise broken(text, code="step.timeout", hint="raise wasm.timeout of the step") from None
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        outcome = task.result()
        # A failed interpreter leaves its process in an unknown state.
        self.spent = self._engine == "wasm3" and outcome.kind != "ok"
        return outcome

    async def _ask(self, request: Request, take: Take) -> Outcome:
        reply = await self._answer(request, take)
        if reply.outcome is None:
            raise broken(reply.text, code=reply.code)
        return reply.outcome

    async def _answer(self, request: Request, take: Take = nothing) -> Reply:
        try:
            reply = _REPLIES.decode(await self._child.ask(msgspec.msgpack.encode(request)))
            while reply.stream is not None:
                for at in range(0, len(reply.data), PIECE):
                    take(reply.stream, reply.data[at : at + PIECE])
                    await asyncio.sleep(0)
                reply = _REPLIES.decode(await self._child.receive())
        except TooLarge as e:
            raise broken(f"the WASM worker sent {e.size} bytes", code="wasm.worker") from e
        except (OSError, EOFError, msgspec.DecodeError) as e:
            raise broken("the WASM worker died: most likely out of memory", code="wasm.worker") from e
        return reply

    async def close(self) -> None:
        """Kill it, even in the middle of a call."""
        await self._child.close()
