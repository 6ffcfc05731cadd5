"""Three small WASI programs as bytes, for the check of an engine: one answers, one never ends, one takes all the memory.

The encoding is that of the WebAssembly core specification, version 1, chapter 5 "Binary Format".
"""

from __future__ import annotations

from agent.executors.wasm.sandbox import WASI

ANSWER = b"ready\n"
"""The output of the program that answers."""
_PAGE = 1 << 16
_TEXT_AT, _RESULT_AT = 16, 32
_I32 = b"\x7f"
_END = b"\x0b"


def answers() -> bytes:
    """A program that writes ANSWER to stdout and ends."""
    call = b"".join(_const(n) for n in (1, 0, 1, _RESULT_AT)) + b"\x10\x00\x1a"  # fd_write(1, iovec at 0, one, result)
    return _module(call)


def never_ends() -> bytes:
    """A program that loops without a call."""
    return _module(b"\x03\x40\x0c\x00" + _END)


def takes_memory() -> bytes:
    """A program that grows and fills its memory page by page, and traps when it gets no more."""
    grow = _const(1) + b"\x40\x00\x22\x00"  # local 0 = memory.grow(1)
    refused = b"\x20\x00" + _const(-1) + b"\x46\x04\x40\x00" + _END  # if it is -1: unreachable
    fill = b"\x20\x00" + _const(_PAGE) + b"\x6c" + _const(1) + b"\x36\x02\x00"  # store 1 in its first word
    return _module(b"\x03\x40" + grow + refused + fill + b"\x0c\x00" + _END)


def _module(body: bytes) -> bytes:
    """A command module with one page of memory that exports `_start` with this body; local 0 is an i32."""
    types = _vector([b"\x60\x00\x00", b"\x60" + _vector([_I32] * 4) + _vector([_I32])])
    imports = _vector([_name(WASI) + _name("fd_write") + b"\x00\x01"])
    exports = _vector([_name("memory") + b"\x02\x00", _name("_start") + b"\x00\x01"])
    code = _vector([b"\x01" + _I32]) + body + _END
    iovec = _TEXT_AT.to_bytes(4, "little") + len(ANSWER).to_bytes(4, "little")
    data = [_const(0) + _END + _sized(iovec), _const(_TEXT_AT) + _END + _sized(ANSWER)]
    sections = {
        1: types,
        2: imports,
        3: _vector([b"\x00"]),
        5: _vector([b"\x00\x01"]),
        7: exports,
        10: _vector([_sized(code)]),
        11: _vector([b"\x00" + segment for segment in data]),
    }
    return b"\0asm\x01\0\0\0" + b"".join(bytes([number]) + _sized(content) for number, content in sections.items())


def _const(value: int) -> bytes:
    """`i32.const`."""
    return b"\x41" + _signed(value)


def _signed(value: int) -> bytes:
    """Signed LEB128."""
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        if value == (-1 if byte & 0x40 else 0):
            return bytes([*out, byte])
        out.append(byte | 0x80)


def _unsigned(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _vector(items: list[bytes]) -> bytes:
    return _unsigned(len(items)) + b"".join(items)


def _sized(content: bytes) -> bytes:
    return _unsigned(len(content)) + content


def _name(text: str) -> bytes:
    return _sized(text.encode())
