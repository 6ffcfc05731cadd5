"""The sink's settings and limits."""

from __future__ import annotations

from pathlib import Path

import msgspec

MIB = 1 << 20


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one building's requests. Sizes are in bytes, rates per second; a burst may come at once."""

    photos: int = 8
    photo: int = 3 * MIB
    pixels: int = 40_000_000
    rate: float = 200.0
    burst: float = 2000.0
    strangers: float = 5.0
    strangers_burst: float = 20.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One sink. `packages` is the folder of a release that the sink hands out to new devices (default: `packages` in `data`).

    `data` holds certificate, photos and, unless `database` names another database, the SQLite file.
    `public` is the address that buildings and browsers use, if it differs from host and port. `keep` is the number of
    days that alerts are kept; 0 keeps all. `notices` has the codes of the warnings that are told like alerts.
    """

    data: Path
    host: str = "0.0.0.0"  # noqa: S104 - buildings must reach the sink
    port: int = 8443
    public: str = ""
    database: str = ""
    keep: int = 0
    notices: tuple[str, ...] = ()
    packages: Path | None = None
    limits: Limits = Limits()

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL."""
        return self.database or f"sqlite:///{self.file}"

    @property
    def file(self) -> Path:
        """The SQLite file, where `database` is empty."""
        return self.data / "sink.db"

    @property
    def handed_out(self) -> Path:
        """The folder of the release that the sink hands out, if it holds one."""
        return self.packages or self.data / "packages"

    @property
    def photos(self) -> Path:
        """The folder of the re-encoded photos."""
        return self.data / "photos"
