"""The resource limits of a process of this host, set from outside or by itself."""

from __future__ import annotations

import resource

DESCRIPTORS = 256


def limit(number: int, memory: int, file_size: int) -> None:
    """Limit the process with this number (0: the caller) and its later children; raises OSError.

    RLIMIT_DATA bounds private memory; RLIMIT_AS would count addresses that run-times reserve and never use.
    """
    resource.prlimit(number, resource.RLIMIT_FSIZE, (file_size, file_size))
    resource.prlimit(number, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    resource.prlimit(number, resource.RLIMIT_CORE, (0, 0))
    resource.prlimit(number, resource.RLIMIT_DATA, (memory, memory))
