"""Large inputs of WASM programs: they read stdin straight from the host's bytes.

wasmtime copies its stdin when the run is set up, and again for each read. Here a host function stands in for `fd_read` and
copies once, into the guest's memory. It serves plain reads only: stdin, one buffer, large pieces. At any other read the run
is given up, and the program runs again, now and from then on, with wasmtime's own stdin. So each odd or hostile read is answered
by wasmtime itself, and the host function takes the GIL only a few times for each run.
"""

from __future__ import annotations

import ctypes
import logging
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

from agent.executors.wasm.sandbox import WASI, Call

LARGE = 256 * 1024
"""Smallest input in bytes that is read so: a smaller one costs as much to copy as the calls."""
PIECE = 32 * 1024
"""Smallest mean size of a guest's reads in bytes: a call of the host function, 1 to 3 µs, costs more than a copy of less."""
_FREE = 16
"""Reads beyond those: the last piece of each buffer, the end of the input."""
_MOVES_STDIN = {"fd_close", "fd_renumber"}
"""Modules that import these may close stdin or put another file in its place; the host function would not know."""
_IO = 29
"""`errno::io` of WASI preview 1."""
_MEMORY = b"memory"
_Callback = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
"""`wasmtime_func_unchecked_callback_t` with addresses as numbers, which takes half the time of making pointers."""
_Numbers = ctypes.c_uint32 * 16
"""Four `wasmtime_val_raw_t` of 16 bytes each; a number of 32 bits is in the first bytes of each."""
_vector, _number = struct.Struct("<II").unpack_from, struct.Struct("<I").pack_into

logger = logging.getLogger(__name__)


def suits_module(module: Any) -> bool:
    """Whether a module's only view of stdin is `fd_read`."""
    names = {i.name for i in module.imports if i.module == WASI}
    return "fd_read" in names and not names & _MOVES_STDIN


def suits_call(call: Call) -> bool:
    """Whether a call has a large input, and no other effect before its end: it may have to run twice."""
    return len(call.stdin) >= LARGE and not call.dirs and not call.root and not call.follow


class Input:
    """The stdin of one run, and the guest's memory.

    `odd` is set at a read that is not plain: the outcome of the run does not count.
    """

    __slots__ = ("_at", "_data", "_memory", "_reads", "_size", "odd")

    def __init__(self, data: bytes) -> None:
        self.odd = False
        self._data = memoryview(data)
        self._at = 0
        self._reads = len(data) // PIECE + _FREE
        self._size = 0
        self._memory = memoryview(b"")

    def read(self, caller: int, fd: int, vectors: int, count: int, done: int) -> bool:
        """Serve `fd_read` of the guest; False where the read is not plain. The arguments are numbers of 32 bits without sign."""
        self._reads -= 1
        if fd or not count or self._reads < 0 or vectors % 4 or done % 4:
            return False
        if not self._reaches(vectors + 8 * count, caller) or not self._reaches(done + 4, caller):
            return False
        start, room = _vector(self._memory, vectors)
        if not room or not self._reaches(start + room, caller):
            return False
        part = self._data[self._at : self._at + room]
        size = len(part)
        self._memory[start : start + size] = part
        _number(self._memory, done, size)
        self._at += size
        return True

    def _reaches(self, end: int, caller: int) -> bool:
        """Whether the guest's memory has the bytes before `end`; it grows and never moves (`memory_may_move`)."""
        return end <= self._size or (self._look(caller) and end <= self._size)

    def _look(self, caller: int) -> bool:
        """Find the guest's memory as large as it is now."""
        found = ffi.wasmtime_extern_t()
        with_caller = ctypes.cast(caller, ctypes.POINTER(ffi.wasmtime_caller_t))
        name = ctypes.create_string_buffer(_MEMORY)
        if not ffi.wasmtime_caller_export_get(with_caller, name, len(_MEMORY), ctypes.byref(found)):
            return False
        if found.kind != ffi.WASMTIME_EXTERN_MEMORY.value:
            return False
        context, memory = ffi.wasmtime_caller_context(with_caller), ctypes.byref(found.of.memory)
        start = ctypes.cast(ffi.wasmtime_memory_data(context, memory), ctypes.c_void_p).value
        size = ffi.wasmtime_memory_data_size(context, memory)
        if not start or not size:
            return False
        self._memory = memoryview((ctypes.c_ubyte * size).from_address(start)).cast("B")
        self._size = size
        return True


class DirectStdin:
    """The host function. Inputs belong to threads: a guest runs on the thread that started it."""

    def __init__(self) -> None:
        self._thread = threading.local()
        # Both must live as long as the linker.
        self._callback = _Callback(self._fd_read)
        self._finalizer = ctypes.CFUNCTYPE(None, ctypes.c_void_p)()

    def define(self, linker: Any) -> None:
        """Let the host function stand in for `fd_read`."""
        i32 = wasmtime.ValType.i32()
        kind = wasmtime.FuncType([i32] * 4, [i32])
        module, name = WASI.encode(), b"fd_read"
        error = ffi.wasmtime_linker_define_func_unchecked(
            linker.ptr(), ctypes.create_string_buffer(module), len(module), ctypes.create_string_buffer(name), len(name),
            kind.ptr(), ctypes.cast(self._callback, ffi.wasmtime_func_unchecked_callback_t), None, self._finalizer,
        )  # fmt: skip
        if error:
            raise wasmtime.WasmtimeError._from_ptr(error)

    @contextmanager
    def feeding(self, data: bytes) -> Iterator[Input]:
        """Serve the guest that runs on this thread within the block."""
        served = self._thread.input = Input(data)
        try:
            yield served
        finally:
            self._thread.input = None  # the guest's memory went with its instance

    def _fd_read(self, _environment: int, caller: int, values: int, _count: int) -> int:
        """Arguments come, and the result goes, in `values`; returns 0 or the address of a trap. No exception may leave it."""
        try:
            numbers = _Numbers.from_address(values)
            fd, vectors, count, done = numbers[0], numbers[4], numbers[8], numbers[12]
            numbers[0] = _IO
            served: Input = self._thread.input
            if served.read(caller, fd, vectors, count, done):
                numbers[0] = 0
                return 0
        except BaseException:  # ctypes would print it, and the program would go on
            logger.exception("a read of a WASM program failed")
        self._thread.input.odd = True
        return ctypes.cast(wasmtime.Trap("not a plain read")._consume(), ctypes.c_void_p).value or 0
