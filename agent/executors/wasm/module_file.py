"""A module's imports and exports, read from its bytes: for engines that do not list them.

WebAssembly Core Specification 1.0, "Binary Format", Modules: sections 2 (imports) and 7 (exports).
"""

from __future__ import annotations

from agent.executors.wasm.sandbox import WASI, invalid

_HEADER = b"\0asm\x01\0\0\0"
_IMPORTS, _EXPORTS = 2, 7
_MAX_ENTRIES = 10_000


def check_module(code: bytes) -> None:
    """Raise StepFailed (`wasm.invalid`) unless it is a command that imports from WASI preview 1 only."""
    if not code.startswith(_HEADER):
        raise invalid("the module is not valid here: it is no WebAssembly 1.0 binary")
    try:
        foreign, exports = _sections(_Reader(code, len(_HEADER)))
    except (IndexError, UnicodeDecodeError) as e:
        raise invalid("the module is not valid here: it is damaged") from e
    if foreign:
        raise invalid(f"the module imports {', '.join(foreign[:5])}; only {WASI} is there")
    if "_start" not in exports:
        raise invalid("the module has no _start: it is a library, not a command")


def _sections(reader: _Reader) -> tuple[list[str], set[str]]:
    foreign: list[str] = []
    exports: set[str] = set()
    while not reader.at_end():
        kind, size = reader.byte(), reader.number()
        end = reader.at + size
        if end > len(reader.code):
            raise IndexError("a section reaches beyond the file")
        if kind == _IMPORTS:
            foreign = sorted(n for n in reader.imports() if not n.startswith(f"{WASI}."))
        elif kind == _EXPORTS:
            exports = reader.exports()
        reader.at = end
    return foreign, exports


class _Reader:
    """A place in the bytes; reading beyond their end raises IndexError."""

    def __init__(self, code: bytes, at: int) -> None:
        self.code = code
        self.at = at

    def at_end(self) -> bool:
        return self.at >= len(self.code)

    def byte(self) -> int:
        self.at += 1
        return self.code[self.at - 1]

    def number(self) -> int:
        """An unsigned LEB128 number of at most 32 bits."""
        value = 0
        for shift in range(0, 35, 7):
            b = self.byte()
            value |= (b & 0x7F) << shift
            if b < 0x80:
                return value
        raise IndexError("a number is too long")

    def name(self) -> str:
        size = self.number()
        self.at += size
        if self.at > len(self.code):
            raise IndexError("a name reaches beyond the file")
        return self.code[self.at - size : self.at].decode()

    def imports(self) -> list[str]:
        found = []
        for _ in range(min(self.number(), _MAX_ENTRIES)):
            found.append(f"{self.name()}.{self.name()}")
            self._skip_import()
        return found

    def exports(self) -> set[str]:
        found = set()
        for _ in range(min(self.number(), _MAX_ENTRIES)):
            found.add(self.name())
            self.byte()
            self.number()
        return found

    def _skip_import(self) -> None:
        kind = self.byte()
        if kind == 0:
            self.number()
        elif kind == 3:
            self.at += 2
        else:
            if kind == 1:
                self.byte()
            if self.byte() & 1:
                self.number()
            self.number()
