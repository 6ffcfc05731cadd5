"""WASM by wasmtime: compiled ahead, a fresh instance per run, stopped by epochs and limits.

stdin is bytes through the C binding (large inputs: `direct_stdin`); stdout and stderr are memfds sealed at their limit, so
that the kernel is the cap and no Python runs per guest write. wasmtime-py is pinned because the stdin binding has no public property.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import wasmtime
from wasmtime import _ffi as ffi

from agent.errors import StepFailed
from agent.executors.record import STREAMS
from agent.executors.wasm.direct_stdin import DirectStdin, suits_call, suits_module
from agent.executors.wasm.sandbox import WASI, Call, Kind, Outcome, Output, Take, invalid, nothing
from agent.files import write_private

TICK = 0.05
"""Seconds between epochs: how late a deadline may be."""
TABLE_ELEMENTS = 100_000
_ENOTSUP = 58
"""`errno::notsup` of WASI preview 1."""
_SHADOWED = {"poll_oneoff": 4, "path_symlink": 5, "path_link": 7}
"""Imports answered with ENOTSUP, with their arity: sleeping outlives the deadline, links point out of the folders."""
_SWITCHED_OFF = ("simd", "relaxed_simd", "threads", "memory64", "multi_memory", "exceptions", "tail_call", "gc")
"""Proposals that some platform's engine lacks: a module that needs one must fail on every platform."""
_BYTES = ctypes.POINTER(ctypes.c_ubyte)
PAGE = 65536
"""A page of WebAssembly memory in bytes."""
SLACK = PAGE
FOLLOW = 0.1
"""Seconds between looks at the output of a program that runs."""
PIECE = 1 << 20
"""Most bytes of output that are taken at once."""


class Wasmtime:
    """The engine of one process; made once, its epoch ticks on a thread while programs run."""

    def __init__(self) -> None:
        self._engine = wasmtime.Engine(_config())
        self._linker = _linker(self._engine)
        self._stdin = DirectStdin()
        self._host_linker = _linker(self._engine)
        self._stdin.define(self._host_linker)
        self._ticker = Ticker(self._engine)
        self._follower = Follower()

    def compile(self, module: Path, target: Path) -> None:
        """See Sandbox."""
        try:
            compiled = wasmtime.Module(self._engine, module.read_bytes())
        except wasmtime.WasmtimeError as e:
            raise invalid(f"the module is not valid here: {_first_lines(e)}") from e
        foreign = sorted(f"{i.module}.{i.name}" for i in compiled.imports if i.module != WASI)
        if foreign:
            raise invalid(f"the module imports {', '.join(foreign[:5])}; only {WASI} is there")
        if "_start" not in {e.name for e in compiled.exports}:
            raise invalid("the module has no _start: it is a library, not a command")
        try:
            self._linker.instantiate_pre(compiled)
        except wasmtime.WasmtimeError as e:
            raise invalid(f"the module does not link: {_first_lines(e)}") from e
        write_private(target, bytes(compiled.serialize()))

    def load(self, compiled: Path) -> WasmtimeProgram:
        """See Sandbox."""
        try:
            module = wasmtime.Module.deserialize_file(self._engine, str(compiled))
        except wasmtime.WasmtimeError as e:
            raise StepFailed(f"{compiled.name}: {_first_lines(e)}", code="wasm.stale") from e
        pre = self._linker.instantiate_pre(module)
        by_host = self._host_linker.instantiate_pre(module) if suits_module(module) else None
        return WasmtimeProgram(self._engine, self._ticker, self._follower, pre, self._stdin, by_host)

    def close(self) -> None:
        """Stop the threads."""
        self._ticker.close()
        self._follower.close()


class WasmtimeProgram:
    """A compiled module, ready to be instantiated; any thread may run it, several at once."""

    def __init__(
        self, engine: Any, ticker: Ticker, follower: Follower, pre: Any, stdin: DirectStdin, by_host: Any | None
    ) -> None:
        """`by_host` is the same module with `stdin` as its stdin, where that suits it."""
        self._engine = engine
        self._ticker = ticker
        self._follower = follower
        self._pre = pre
        self._stdin = stdin
        self._by_host = by_host
        self.direct = by_host is not None
        """Whether large inputs come from the host; after a read that is not plain they do not."""

    def run(self, call: Call, take: Take = nothing) -> Outcome:
        """See Program."""
        if self.direct and suits_call(call):
            with self._stdin.feeding(call.stdin) as served:
                outcome = self._run(call, take, self._by_host, b"")
            if not served.odd:
                return outcome
            self.direct = False
        return self._run(call, take, self._pre, call.stdin)

    def _run(self, call: Call, take: Take, pre: Any, stdin: bytes) -> Outcome:
        wasi = wasmtime.WasiConfig()
        wasi.argv = call.argv
        wasi.env = call.env
        _set_stdin(wasi, stdin)
        for d in call.dirs:
            wasi.preopen_dir(d.host, d.guest, d.writable)
        with _captured(wasi, call) as (out, err):
            store = wasmtime.Store(self._engine)
            try:
                store.set_limits(
                    memory_size=call.memory, instances=1, memories=1, tables=4, table_elements=TABLE_ELEMENTS
                )
                store.set_wasi(wasi)
                captures: dict[Output, _Stream] = {"stdout": out, "stderr": err}
                followed = {stream: captures[stream] for stream in call.follow}
                with self._ticker.running(), self._follower.following(followed, take):
                    store.set_epoch_deadline(int(call.seconds / TICK) + 2)
                    kind, code, note, peak = _start(pre, store)
            finally:
                store.close()
            (stdout, out_overrun), (stderr, err_overrun) = out.read(), err.read()
        if out_overrun or err_overrun:
            kind = "stdout" if out_overrun else "stderr"
        # Within an eighth of its limit it most likely died of wanting more.
        full = kind in ("ok", "exit", "trap") and peak + max(PAGE, call.memory // 8) > call.memory
        return Outcome(kind, code, stdout, stderr, note, full and kind != "ok", peak=peak)


def _start(pre: Any, store: Any) -> tuple[Kind, int, str, int]:
    exports: Any = None
    kind: Kind = "ok"
    code, note = 0, ""
    try:
        exports = pre.instantiate(store).exports(store)
        exports["_start"](store)
    except wasmtime.ExitTrap as e:
        kind, code = ("exit" if e.code else "ok"), e.code
    except wasmtime.Trap as e:
        if e.trap_code == wasmtime.TrapCode.INTERRUPT:
            kind, code = "deadline", -1
        else:
            kind, code, note = "trap", -1, _last_line(e)
    except wasmtime.WasmtimeError as e:
        kind, code, note = "error", -1, _first_lines(e)
    return kind, code, note, _memory_of(exports, store)


class Ticker:
    """Advances the engine's epoch every TICK seconds, but only while something runs: an idle agent does not wake."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._busy = 0
        self._stop = threading.Event()
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._tick, daemon=True, name="wasm-epoch")
        self._thread.start()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Keeps the epoch moving within the block."""
        with self._wake:
            self._busy += 1
            if self._busy == 1:
                self._wake.notify()
        try:
            yield
        finally:
            with self._wake:
                self._busy -= 1

    def close(self) -> None:
        """End the thread."""
        with self._wake:
            self._stop.set()
            self._wake.notify()
        self._thread.join()

    def _tick(self) -> None:
        while not self._stop.wait(TICK):
            with self._wake:
                self._wake.wait_for(lambda: self._busy or self._stop.is_set())
            self._engine.increment_epoch()


class Follower:
    """Takes the output of programs while they run: one thread for all of them, started at the first need."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._followed: list[tuple[Output, _Stream, Take]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def following(self, captures: dict[Output, _Stream], take: Take) -> Iterator[None]:
        """Give `take` the lines of these outputs while the program runs within the block."""
        mine = [(stream, capture, take) for stream, capture in captures.items()]
        if mine:
            self._add(mine)
        try:
            yield
        finally:
            with self._changed:  # no look is under way then
                for one in mine:
                    self._followed.remove(one)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._stop.set()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _add(self, mine: list[tuple[Output, _Stream, Take]]) -> None:
        with self._changed:
            self._followed += mine
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, daemon=True, name="wasm-output")
                self._thread.start()
            self._changed.notify()

    def _follow(self) -> None:
        while not self._stop.wait(FOLLOW):
            with self._changed:
                self._changed.wait_for(lambda: self._followed or self._stop.is_set())
                for stream, capture, take in self._followed:
                    while data := capture.lines():
                        take(stream, data)


@contextlib.contextmanager
def _captured(wasi: Any, call: Call) -> Iterator[tuple[_Stream, _Stream]]:
    """The guest's stdout and stderr."""
    if call.root:
        out, err = (Path(call.root) / name for name in STREAMS)
        yield _File(wasi, "stdout_file", out, call.stdout), _File(wasi, "stderr_file", err, call.stderr)
        return
    with _Capture(wasi, "stdout_file", call.stdout) as stdout, _Capture(wasi, "stderr_file", call.stderr) as stderr:
        yield stdout, stderr


class _Stream(Protocol):
    """One output stream of the guest."""

    def read(self) -> tuple[bytes, bool]:
        """The bytes within the limit that were not taken; whether there were more."""
        ...

    def lines(self) -> bytes:
        """Take the whole lines that were written since the last call."""
        ...


class _File:
    """An output stream in a file, which its reader follows; RLIMIT_FSIZE of the worker bounds its size."""

    def __init__(self, wasi: Any, attribute: str, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        path.touch(mode=0o600)
        setattr(wasi, attribute, str(path))

    def read(self) -> tuple[bytes, bool]:
        return b"", self._path.stat().st_size > self._limit

    def lines(self) -> bytes:
        return b""


class _Capture:
    """One output stream of the guest, as a memfd that the kernel keeps from growing.

    It is SLACK larger than `limit`: a write that does not fit is refused, and the place of the last write shows whether
    the limit was overrun.
    """

    def __init__(self, wasi: Any, attribute: str, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._fd = os.memfd_create(attribute, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            # wasmtime opens (and truncates) the file here, with a separate offset; then it gets its size and seals.
            setattr(wasi, attribute, f"/proc/self/fd/{self._fd}")
            os.ftruncate(self._fd, limit - limit % -PAGE + SLACK)
            fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        except BaseException:
            os.close(self._fd)
            raise

    def read(self) -> tuple[bytes, bool]:
        """The bytes within the limit that were not taken, without the zeros that fill the last page; whether there were more."""
        end = os.lseek(self._fd, 0, os.SEEK_HOLE)
        data = os.pread(self._fd, max(0, min(end, self._limit + 1) - self._taken), self._taken).rstrip(b"\0")
        over = self._taken + len(data) > self._limit or end > self._limit - self._limit % -PAGE
        return data[: self._limit - self._taken], over

    def lines(self) -> bytes:
        """Take the whole lines that were written since the last call, or a piece of a line of PIECE bytes and more."""
        end = min(os.lseek(self._fd, 0, os.SEEK_HOLE), self._limit, self._taken + PIECE)
        data = os.pread(self._fd, max(0, end - self._taken), self._taken)
        data = data if len(data) == PIECE else data[: data.rfind(b"\n") + 1]
        self._taken += len(data)
        return data

    def __enter__(self) -> _Capture:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _config() -> Any:
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.memory_may_move = False  # `direct_stdin` keeps its address
    for proposal in reversed(_SWITCHED_OFF):
        setattr(config, f"wasm_{proposal}", False)
    return config


def _linker(engine: Any) -> Any:
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    linker.allow_shadowing = True
    i32 = wasmtime.ValType.i32()
    for name, arity in _SHADOWED.items():
        kind = wasmtime.FuncType([i32] * arity, [i32])
        linker.define_func(WASI, name, kind, lambda *_: _ENOTSUP)
    return linker


def _set_stdin(wasi: Any, data: bytes) -> None:
    vector = ffi.wasm_byte_vec_t()
    start = ctypes.cast(ctypes.c_char_p(bytes(data)), _BYTES)  # a block of a log may be a bytearray
    ffi.wasm_byte_vec_new(ctypes.byref(vector), len(data), start)
    ffi.wasi_config_set_stdin_bytes(wasi.ptr(), ctypes.byref(vector))


def _memory_of(exports: Any, store: Any) -> int:
    """The size in bytes of the guest's memory, which never shrinks; 0 where it has none."""
    memory = exports.get("memory") if exports is not None else None
    return int(memory.data_len(store)) if isinstance(memory, wasmtime.Memory) else 0


def _first_lines(e: Exception) -> str:
    return " ".join(str(e).split())[:400]


def _last_line(e: Exception) -> str:
    return str(e).strip().splitlines()[-1].strip()[:400]
