"""Memory that the C library holds back."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return freed memory to the system: malloc_trim(3), where the C library is glibc. For a thread: it takes milliseconds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
