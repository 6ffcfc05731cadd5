"""Follows the warnings and the silence of buildings, and queues a report where some of them begin or end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.orm import Session

from cloud_sink.clock import DAY, SECOND, now_ms
from cloud_sink.notify import troubles as rules
from cloud_sink.store.base import Transactions
from cloud_sink.store.models import Building, Key, Notice, Report, Trouble

logger = logging.getLogger(__name__)

EVERY = 30.0
"""Seconds between two checks of the newest summaries."""
CLOCK_SET = 60.0
"""Seconds by which the wall clock must jump to count as set."""
HOUR = 3600 * SECOND
PER_HOUR = 6
"""Most reports about one building in an hour, and about silent buildings. Later troubles wait for a common report."""
KEPT = 30 * DAY


class Troubles(Transactions):
    """The troubles of all buildings. Calls block, so they run in threads.

    `codes` are followed; `channels` get the reports; `page` is the sink's address; `started` is the time since when the
    sink can be reached, in ms.
    """

    def __init__(
        self, engine: Engine, codes: Collection[str], channels: Sequence[str], page: str, started: int | None = None
    ) -> None:
        super().__init__(engine)
        self._codes, self._channels, self._page = codes, channels, page.rstrip("/")
        self._started = now_ms() if started is None else started
        self._heard: set[str] = set()
        self._limited: set[str] = set()
        self._full: set[str] = set()

    def look(self, now: int) -> int:
        """Compare the newest summaries with the troubles, and queue what has to be told; returns the number of reports.

        Rows and reports are written in one transaction, so that a restart neither repeats nor loses a report.
        """
        with self.read() as s:
            used = set(s.scalars(select(Key.mesh).where(Key.revoked == 0)))
            buildings = [b for b in s.scalars(select(Building)) if b.mesh in used]
            idle = s.scalar(select(Trouble.id).limit(1)) is None
        keys = {b.mesh: rules.keys_of(b, self._codes) for b in buildings}
        made = 0
        if not idle or any(keys.values()) or any(self._silent(b, now) for b in buildings):
            with self.write() as s:
                made = self._looked(s, buildings, keys, now)
        self._heard |= {b.mesh for b in buildings if b.received >= self._started}
        return made

    def restarted(self, now: int) -> None:
        """Note that the sink could not hear the buildings, or had another time, until now."""
        self._started = now
        self._heard.clear()

    def forget(self) -> None:
        """Delete all troubles: notices are off, and what began before they are on again is not told as new."""
        with self.write() as s:
            s.execute(delete(Trouble))

    def _silent(self, building: Building, now: int) -> bool:
        """A building whose summary is switched off never reports, so it is not silent."""
        if rules.SILENT not in self._codes or not building.received:
            return False
        return now - max(building.received, building.seen, self._started) >= building.silent_after

    def _looked(self, s: Session, buildings: list[Building], keys: dict[str, set[rules.Key]], now: int) -> int:
        by_mesh: dict[str, list[Trouble]] = {b.mesh: [] for b in buildings}
        for row in s.scalars(select(Trouble).order_by(Trouble.id)):
            if row.mesh not in by_mesh or row.code not in self._codes or rules.forgotten(row, now):
                s.delete(row)
            else:
                by_mesh[row.mesh].append(row)
        s.flush()  # a deleted trouble may come again now
        made, quiet = 0, list[Trouble]()
        for building in buildings:
            rows = [r for r in by_mesh[building.mesh] if r.code != rules.SILENT]
            old = next((r for r in by_mesh[building.mesh] if r.code == rules.SILENT), None)
            silent = self._silent(building, now)
            if silence := rules.update_silence(old, building, now, silent):
                quiet.append(silence)
                silent = not silence.absent
            if not silent:  # what a silent building said last may have changed
                heard = building.mesh in self._heard
                rows += (new := rules.update(rows, keys[building.mesh], building.mesh, now, heard=heard))
                s.add_all(new)
                self._say_full(building.mesh, rows)
                made += self._tell(s, building, rows, now)
        s.add_all(quiet)
        return made + self._tell_silence(s, quiet, now)

    def _say_full(self, mesh: str, rows: list[Trouble]) -> None:
        if sum(r.state != "over" for r in rows) < rules.MOST and len(rows) < rules.MOST_ROWS:
            self._full.discard(mesh)
        elif mesh not in self._full:
            self._full.add(mesh)
            logger.warning("mesh %s has %d warnings for notices; others are not followed", mesh, len(rows))

    def _tell(self, s: Session, building: Building, rows: list[Trouble], now: int) -> int:
        name, made = building.name, 0
        if begun := rules.begun(rows, now):
            made += self._report(s, building.mesh, begun, "told", lambda: rules.told_begun(begun, name, now), now)
        if ended := _over(rules.ended(rows, now)):
            alive = rules.alive_of(building)
            made += self._report(s, building.mesh, ended, "over", lambda: rules.told_ended(ended, name, alive), now)
        return made

    def _tell_silence(self, s: Session, rows: list[Trouble], now: int) -> int:
        # One limit for all buildings: all are silent when the sink itself has no network.
        made = 0
        if begun := [r for r in rows if r.state == "new" and not r.absent]:
            made += self._report(s, "", begun, "told", lambda: rules.told_silent(begun, now), now)
        if ended := _over(rules.ended(rows, now)):
            made += self._report(s, "", ended, "over", lambda: rules.told_heard(ended), now)
        return made

    def _report(
        self, s: Session, mesh: str, rows: list[Trouble], state: str, words: Callable[[], tuple[str, str]], now: int
    ) -> int:
        """Queue one report for all channels, and set the state of its rows; at the limit the rows wait as they are."""
        recent = select(func.count(Report.id)).where(Report.mesh == mesh, Report.created > now - HOUR)
        if (s.scalar(recent) or 0) >= PER_HOUR:
            if mesh not in self._limited:
                self._limited.add(mesh)
                about = f"mesh {mesh}" if mesh else "silent buildings"
                logger.warning("%s: %d notices within an hour; the next notice waits", about, PER_HOUR)
            return 0
        self._limited.discard(mesh)
        title, lines = words()
        see = f"See {self._page}/buildings" + (f"#b-{rows[0].mesh}" if len({r.mesh for r in rows}) == 1 else "")
        report = Report(mesh=mesh, title=title[:300], body="\n".join(filter(None, (lines, see))), created=now)
        s.add(report)
        s.flush()
        for channel in self._channels:
            root = f"report/{report.id}"  # no incident's root has a slash
            s.add(Notice(channel=channel, mesh=mesh, root=root, wanted=1, files={}, report=report.id))
        for row in rows:
            row.state = state
        old = select(Report.id).where(Report.created < now - KEPT)
        s.execute(delete(Notice).where(Notice.report.in_(old)))
        s.execute(delete(Report).where(Report.created < now - KEPT))
        logger.info("notice: %s", report.title)
        return 1


class Watch:
    """Checks the newest summaries until cancelled; `on_report` is called after new reports."""

    __name__ = "watch"

    def __init__(self, troubles: Troubles, on_report: Callable[[], None]) -> None:
        self._troubles, self._on_report = troubles, on_report

    async def run(self) -> None:
        """Work until cancelled; an error of the database ends it."""
        # It is started again after an outage of the database, in which no summary could be stored.
        offset = _offset()
        self._troubles.restarted(now_ms())
        while True:
            if abs(_offset() - offset) > CLOCK_SET:
                logger.info("the clock was set, or the machine slept: silence counts from now on")
                offset = _offset()
                self._troubles.restarted(now_ms())
            if await asyncio.to_thread(self._troubles.look, now_ms()):
                self._on_report()
            await asyncio.sleep(EVERY)


def _offset() -> float:
    """Seconds between the wall clock and the clock that is never set and stops while the machine sleeps."""
    return now_ms() / SECOND - time.monotonic()


def _over(ended: list[Trouble]) -> list[Trouble]:
    """The ended troubles whose beginning was told; the others are over without a report."""
    for row in (r for r in ended if r.state == "new"):
        row.state = "over"
        logger.info("%s of mesh %s ended before its notice", row.code, row.mesh)
    return [r for r in ended if r.state == "told"]
