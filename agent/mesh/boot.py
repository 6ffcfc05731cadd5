"""Boot epochs: they name the start of the agent that a message is meant for."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from agent.files import read_private, write_private

BOOT = re.compile(r"[0-9a-f]{12}-[0-9a-f]{16}\Z")


def next_boot(state: Path) -> str:
    """A fresh boot epoch: twelve hex digits that rise with each start of this node, then 64 random bits.

    The number is one more than the last number, or the wall clock's seconds where those are larger: it rises
    on a node that was restored from an old backup, and on a node without a clock. It is compared only with
    earlier epochs of the same node.
    """
    path = state / "boot"
    try:
        last = int(read_private(path) or b"0", 16)
    except ValueError:
        last = 0
    number = max(last + 1, int(time.time())) & 0xFFFFFFFFFFFF
    write_private(path, f"{number:x}".encode())
    return f"{number:012x}-{os.urandom(8).hex()}"
