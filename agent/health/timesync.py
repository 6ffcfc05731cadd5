"""Time synchronisation of this host."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

TIME_ERROR = 5
"""The answer of adjtimex(2) for a clock that is not synchronised."""


def clock_synchronised() -> bool | None:
    """Whether a time service keeps this host's clock; None where the kernel does not say."""
    adjtimex = _adjtimex()
    if adjtimex is None:
        return None
    state = adjtimex(ctypes.create_string_buffer(512))
    return None if state < 0 else state != TIME_ERROR


@functools.cache
def _adjtimex() -> Any:
    try:
        return ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
