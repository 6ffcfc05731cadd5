"""Where the sink keeps things and what it allows."""

from __future__ import annotations

from pathlib import Path

import msgspec

MIB = 1 << 20


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one building may send. Sizes in bytes, rates per second with the burst that is let through at once."""

    photos: int = 8
    photo: int = 3 * MIB
    pixels: int = 40_000_000
    rate: float = 200.0
    burst: float = 2000.0
    strangers: float = 5.0
    strangers_burst: float = 20.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One sink. `data` holds certificate, photos and, unless `database` names another, the SQLite file.

    `public` is the address that buildings and browsers use, where it differs from host and port. `keep` is how many
    days of alerts are kept, 0 for all.
    """

    data: Path
    host: str = "0.0.0.0"  # noqa: S104 - a sink is there to be reached
    port: int = 8443
    public: str = ""
    database: str = ""
    keep: int = 0
    limits: Limits = Limits()

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL."""
        return self.database or f"sqlite:///{self.data / 'sink.db'}"

    @property
    def photos(self) -> Path:
        """The folder of the re-encoded photos."""
        return self.data / "photos"
