"""Memory that the C library holds back."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_LARGE = 8 << 20
"""Bytes from which a block is mapped for itself, and free bytes that an arena of the C library keeps at its end. By itself glibc
raises both to the size of the largest block that was freed, and twice that."""
_LEAST = 256 << 10
"""The free bytes that stay at the end of the thread's arena while memory is given back."""
_BLOCK = 128 << 10
"""glibc looks at the end of an arena where a block of 64 KiB or more is freed."""


def give_back() -> None:
    """Return freed memory to the system, where the C library is glibc. For a thread: it takes milliseconds.

    malloc_trim(3) leaves the free end of each thread's arena, so the thread that has freed much should call this.
    """
    library = ctypes.CDLL(None)
    trim, option = getattr(library, "malloc_trim", None), getattr(library, "mallopt", None)
    if trim is None or option is None:
        return
    option(_M_MMAP_THRESHOLD, _LARGE)
    option(_M_TRIM_THRESHOLD, _LEAST)
    bytes(_BLOCK)
    option(_M_TRIM_THRESHOLD, _LARGE)
    trim(0)
