"""Wake-up when files change: Linux's inotify, through libc.

Source: inotify(7). It is only a hint to look at the files again. It misses changes on network file systems and with an
exhausted `max_user_watches`; the reader finds those changes by a check from time to time.
"""

from __future__ import annotations

import asyncio
import ctypes
import os

_MODIFY, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
_FILE = _MODIFY
_FOLDER = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE


class Inotify:
    """Watches a few files and folders; `changed` is set when anything happens to them."""

    def __init__(self) -> None:
        """Make it on the event loop; raises OSError where the kernel does not offer inotify."""
        self.changed = asyncio.Event()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _error()
        self._watches: set[int] = set()
        asyncio.get_running_loop().add_reader(self._fd, self._drain)

    def watch(self, files: list[str], folder: str) -> bool:
        """Watch these and no others; missing files are left out. Returns whether all existing files are watched."""
        watches = set()
        complete = True
        for path, mask in (*((file, _FILE) for file in files), (folder, _FOLDER)):
            watch = self._libc.inotify_add_watch(self._fd, os.fsencode(path), mask)
            if watch >= 0:
                watches.add(watch)
            elif ctypes.get_errno() not in (2, 20):
                complete = False
        for old in self._watches - watches:
            self._libc.inotify_rm_watch(self._fd, old)
        self._watches = watches
        return complete

    def _drain(self) -> None:
        try:
            while os.read(self._fd, 65536):
                pass
        except BlockingIOError:
            pass
        self.changed.set()

    def close(self) -> None:
        """Stop watching."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
