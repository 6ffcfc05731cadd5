"""Facts about the sink that runs, which other processes show."""

from __future__ import annotations

from typing import Any

from cloud_sink.store.base import Transactions
from cloud_sink.store.models import Setting


class Remembered(Transactions):
    """Values by name, as JSON."""

    def put(self, name: str, value: Any) -> None:
        """Store a value."""
        with self.write() as s:
            s.merge(Setting(name=name, value=value))

    def get(self, name: str) -> Any:
        """The stored value, or None."""
        with self.read() as s:
            row = s.get(Setting, name)
        return None if row is None else row.value
