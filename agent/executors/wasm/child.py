"""The WASM worker: it runs modules that get folders, under resource limits, one call after another.

`worker.py` starts it as `python -m agent.executors.wasm.child serve ENGINE FD` (a frozen agent: `edge-agent wasm-child
serve ENGINE FD`). Messages (`agent.worker`) are msgpack: a Request in, a Reply out.
`compile ENGINE SRC DST` compiles one module and prints a Reply as JSON.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from agent.errors import EdgeError
from agent.executors.record import HANDLE, RESULT, Handle, ProcessId, write_record
from agent.executors.wasm.available import make_sandbox
from agent.executors.wasm.sandbox import Call, Outcome, Output, Program, Sandbox, Take, result
from agent.worker import end_with_parent, outliving_parent, receive, send

MIB = 1 << 20
DESCRIPTORS = 96
"""RLIMIT_NOFILE of a worker: the files of a module, plus about a dozen of the worker."""
COMPILE_MEMORY = 1024 * MIB
COMPILE_SECONDS = 120
GRACE = 3.0
"""Seconds beyond a program's limit after which its worker is killed: usually the engine stops the program earlier."""
STACK = 256 * 1024
"""Stack in bytes of the worker's threads: one reads the output of the program while it runs."""
_RESERVE = 96 * MIB
"""Private memory that the worker may need beyond a guest's."""
_ADDRESS_SPACE = 16 << 30
"""RLIMIT_AS: wasmtime reserves 4 GiB of addresses for an instance; RLIMIT_DATA bounds real memory."""


class Request(msgspec.Struct, array_like=True):
    """Run the compiled module at `program`, or without a call only load it. `file_size` bounds each file that it writes."""

    program: str
    call: Call | None = None
    file_size: int = 0


class Reply(msgspec.Struct, array_like=True):
    """Output of a program that still runs (`stream`, `data`), then its outcome, or the code and text of an error."""

    outcome: Outcome | None = None
    code: str = ""
    text: str = ""
    stream: Output | None = None
    data: bytes = b""


def main(arguments: list[str]) -> int:
    """Entry of the child process."""
    match arguments:
        case ["serve", engine, fd]:
            _limit()
            with socket.socket(fileno=int(fd)) as link:
                return serve(link, make_sandbox(engine))
        case ["compile", engine, source, target]:
            _limit()
            return compile_module(engine, Path(source), Path(target))
        case _:
            sys.stderr.write("this is the agent's WASM worker; it is started by the agent\n")
            return 2


def serve(link: socket.socket, sandbox: Sandbox) -> int:
    """Answer requests until the parent closes its end of the socket."""
    programs: dict[str, Program] = {}

    def take(stream: Output, data: bytes) -> None:
        send(link, msgspec.msgpack.encode(Reply(stream=stream, data=data)))

    while (raw := receive(link)) is not None:
        request = msgspec.msgpack.decode(raw, type=Request)
        try:
            if request.program not in programs:
                programs[request.program] = sandbox.load(Path(request.program))
            reply = Reply()
            if request.call is not None:
                _limit_run(request.call, request.file_size)
                run = _run_once if request.call.root else _run
                reply = Reply(run(programs[request.program], request.call, take))
        except EdgeError as e:
            reply = Reply(code=e.code, text=e.message)
        send(link, msgspec.msgpack.encode(reply))
    return 0


def _run(program: Program, call: Call, take: Take) -> Outcome:
    before = time.thread_time()
    outcome = program.run(call, take)
    outcome.cpu = time.thread_time() - before
    return outcome


def _run_once(program: Program, call: Call, take: Take) -> Outcome:
    """Run it with a record of it, even where the parent ends; SIGALRM ends the worker where the engine stops nothing."""
    root = Path(call.root)
    with outliving_parent(call.seconds + GRACE):
        write_record(root, HANDLE, Handle.now(worker=ProcessId.of(os.getpid())))
        began = time.monotonic()
        outcome = _run(program, call, take)
        with suppress(OSError):  # the parent gets the outcome
            write_record(root, RESULT, result(outcome, call, time.monotonic() - began))
    return outcome


def compile_module(engine: str, source: Path, target: Path) -> int:
    """Compile in this process: a module that takes long to compile does not delay the agent."""
    resource.setrlimit(resource.RLIMIT_DATA, (COMPILE_MEMORY, COMPILE_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (COMPILE_SECONDS, COMPILE_SECONDS))
    reply = Reply()
    try:
        make_sandbox(engine).compile(source, target)
    except EdgeError as e:
        reply = Reply(code=e.code, text=e.message)
    sys.stdout.buffer.write(msgspec.json.encode(reply))
    return 0


def _limit() -> None:
    end_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.stack_size(STACK)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    if sys.maxsize > _ADDRESS_SPACE:
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))


def _limit_run(call: Call, file_size: int) -> None:
    # The guest's stdout and stderr are files, too, a little larger than their limits.
    file_size = max(file_size, max(call.stdout, call.stderr) + MIB)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_DATA, (call.memory + _RESERVE, resource.RLIM_INFINITY))


if __name__ == "__main__":
    # No clean-up at the end: the parent has closed its end or killed this process, and the engine's threads are daemons.
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
