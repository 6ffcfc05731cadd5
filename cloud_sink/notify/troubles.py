"""Troubles: the warnings of a building that are chosen for notices. Decides, without a database, what begins and ends."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from agent.errors import ConfigError
from agent.model.health import WARNING_CODES
from cloud_sink.clock import DAY, SECOND
from cloud_sink.store.models import Building, Trouble

MINUTE = 60 * SECOND
SILENT = "building.silent"
"""The code of a building that does not report; the sink itself finds it."""
NODE_GONE = "node.gone"
USUAL = (NODE_GONE, "camera.gone", "source.gone", SILENT)
"""The codes that `--notices on` chooses."""
ASKED_EVERY = 240
"""Seconds between summaries that a sink asks for where it tells silence: two are missing after ten minutes."""
GATHER = 2 * MINUTE
"""The nodes of a building without power are found to be gone within this time, so that one report has them all."""
LASTING = 12 * MINUTE
"""A trouble is over when the summaries lack it for so long, doubled for each time that it came back within a day.

After a restart a node needs ten minutes to find again what is gone.
"""
MOST = 200
"""Most troubles of one building that are followed at the same time."""
MOST_ROWS = 2 * MOST
"""The same with those that were over within the last day."""
_GONE = 10 * MINUTE
"""A warning whose code ends with `.gone` comes so long after the absence began."""
_DOUBLINGS = 4
_NAMED, _KINDS = 10, 3
"""Most things of a kind that a report names, and most kinds that a title counts."""
_TIMES = re.compile(r"\((\d{1,3}) times\)\Z")
_NOUNS = {NODE_GONE: "node", "camera.gone": "camera", "source.gone": "log"}


class Key(NamedTuple):
    """The thing that a trouble is about. A subject `#2` is the second trouble of this code on a node that tells no names."""

    code: str
    node: str
    subject: str


def parse_notices(text: str) -> tuple[str, ...]:
    """The codes in the value of `--notices`: `off`, `on`, codes, or `on` and more codes; raises ConfigError."""
    found: dict[str, None] = {}
    for word in filter(None, (w.strip() for w in text.split(","))):
        if word == "off":
            continue
        if word not in ("on", SILENT, *WARNING_CODES):
            near = difflib.get_close_matches(word, ["on", "off", SILENT, *WARNING_CODES], 1)
            raise ConfigError(
                f"--notices: {word[:80]!r} is not the code of a warning",
                hint=f"did you mean {near[0]}?" if near else "write on, off, or codes such as node.gone,disk.full",
            )
        found.update(dict.fromkeys(USUAL if word == "on" else [word]))
    return tuple(found)


def keys_of(building: Building, codes: Collection[str]) -> set[Key]:
    """The troubles in a building's newest summary, at most `MOST`."""
    found: set[Key] = set()
    for w in building.warnings:
        code, reporter = str(w.get("code", "")), _clean(w.get("node", ""))
        if code not in codes or len(found) >= MOST:
            continue
        if code == NODE_GONE:
            # The node that sends the summary sees every node itself, so the others' counts add nothing.
            found |= set() if reporter else {Key(code, "", _clean(w.get("subject", "")))}
        elif not reporter:
            found.add(Key(code, _clean(building.node), _clean(w.get("subject", ""))))
        else:
            times = _TIMES.search(str(w.get("text", "")))
            found |= {Key(code, reporter, f"#{n + 1}") for n in range(int(times[1]) if times else 1)}
    return set(sorted(found)[:MOST])


def update(rows: Sequence[Trouble], keys: Collection[Key], mesh: str, now: int, *, heard: bool) -> list[Trouble]:
    """Compare the rows with a summary: changes the rows and returns new rows. Unless the sink `heard` the building
    before, it does not know when a new trouble began.
    """
    groups = {(k.code, k.node): _counted(k.subject) for k in keys}
    open_ = {(r.code, r.node): _counted(r.subject) for r in rows if r.state != "over"}
    # Two nodes may send summaries in turn: one names the subjects, the other only counts them.
    other = {g for g, counted in groups.items() if open_.get(g, counted) != counted}
    for row in rows:
        key = Key(row.code, row.node, row.subject)
        if key in keys and row.state == "over":
            row.state, row.times = "new", row.times + 1
            row.since, row.seen = _since(key, now, heard), now
        if key in keys or (key[:2] in other and row.state != "over"):
            row.absent = 0
        else:
            row.absent = row.absent or now
    had = {Key(r.code, r.node, r.subject) for r in rows}
    new = [k for k in sorted(set(keys) - had) if k[:2] not in other]
    room = min(MOST - sum(r.state != "over" for r in rows), MOST_ROWS - len(rows))
    return [_made(k, mesh, now, _since(k, now, heard)) for k in new[: max(0, room)]]


def update_silence(row: Trouble | None, building: Building, now: int, silent: bool) -> Trouble | None:
    """Change the row of a building's silence; returns it, or a new row, or None where there was no silence."""
    since = max(building.received, building.seen)
    if row is None:
        return _made(Key(SILENT, "", _clean(building.name)), building.mesh, now, since) if silent else None
    if row.state != "over" and since == row.since:
        silent = True  # a restart of the sink ends no silence
    elif silent and row.state == "over":
        row.state, row.times, row.since, row.seen = "new", row.times + 1, since, now
    row.subject = _clean(building.name)
    row.absent = 0 if silent else row.absent or now
    return row


def begun(rows: Sequence[Trouble], now: int) -> list[Trouble]:
    """The troubles whose beginning is to be told now: all that are new, once the first of them is `GATHER` old."""
    new = [r for r in rows if r.state == "new" and not r.absent]
    return new if any(now - r.seen >= GATHER for r in new) else []


def ended(rows: Sequence[Trouble], now: int) -> list[Trouble]:
    """The troubles that are over by now, told or not."""
    return [r for r in rows if r.state != "over" and r.absent and now - r.absent >= _lasting(r)]


def forgotten(row: Trouble, now: int) -> bool:
    """Whether a trouble has been over for a day."""
    return row.state == "over" and now - row.absent > DAY


def told_begun(rows: Sequence[Trouble], building: str, now: int) -> tuple[str, str]:
    """Title and lines of a report about troubles of one building that began."""
    if len(rows) > 1:
        return _many(rows, building, lambda r: "gone" if r.code in _NOUNS else "new", now)
    (row,) = rows
    since = f" since {_clock(row.since, now)}" if row.since else ""
    return f"{building}: {_name(row)} {'is gone' if row.code in _NOUNS else 'is a new warning'}{since}", ""


def told_ended(rows: Sequence[Trouble], building: str, alive: Collection[str]) -> tuple[str, str]:
    """Title and lines of a report about troubles of one building that ended; `alive` has its live nodes."""
    if len(rows) > 1:
        return _many(rows, building, lambda r: _ended(r, alive), 0)
    (row,) = rows
    return f"{building}: {_name(row)} is {_ended(row, alive)}{_after(row)}", ""


def told_silent(rows: Sequence[Trouble], now: int) -> tuple[str, str]:
    """Title and lines of a report about buildings that do not report any more."""
    if len(rows) == 1:
        title = f"building {rows[0].subject} does not report since {_clock(rows[0].since, now)}"
        return title, "Check its power, its Internet access, and the node that sends to this sink."
    names = _listed([f"{r.subject} (since {_clock(r.since, now)})" for r in rows])
    return f"{len(rows)} buildings do not report", f"{names}\nDid the sink have no Internet access?"


def told_heard(rows: Sequence[Trouble]) -> tuple[str, str]:
    """Title and lines of a report about buildings that report again."""
    if len(rows) == 1:
        return f"building {rows[0].subject} reports again{_after(rows[0])}", ""
    return f"{len(rows)} buildings report again", _listed([f"{r.subject}{_after(r)}" for r in rows])


def alive_of(building: Building) -> set[str]:
    """The names of the nodes that are alive by the newest summary."""
    return {_clean(n.get("name", "")) for n in building.nodes if str(n.get("alive", "")).lower() in ("yes", "true")}


def _made(key: Key, mesh: str, now: int, since: int) -> Trouble:
    return Trouble(
        mesh=mesh, code=key.code, node=key.node, subject=key.subject,
        state="new", since=since, seen=now, absent=0, times=1,
    )  # fmt: skip


def _ended(row: Trouble, alive: Collection[str]) -> str:
    if row.code == NODE_GONE and row.subject not in alive:
        return "not reported any more (removed?)"
    return "back" if row.code in _NOUNS else "over"


def _many(rows: Sequence[Trouble], building: str, state_of: Callable[[Trouble], str], now: int) -> tuple[str, str]:
    counts, lines = [], []
    for code, state in dict.fromkeys((r.code, state_of(r)) for r in rows):
        same = [r for r in rows if (r.code, state_of(r)) == (code, state)]
        noun = f"{_NOUNS[code]}{'s' if len(same) > 1 else ''}" if code in _NOUNS else code
        counts.append(f"{len(same)} {noun} {state}")
        since = min((r.since for r in same if r.since), default=0) if now else 0
        times = f" since {_clock(since, now)}" if since else ""
        lines.append(f"{len(same)} {noun} {state}{times}: {_listed([_name(r) for r in same])}")
    more = f" and {len(counts) - _KINDS} more kinds" if len(counts) > _KINDS else ""
    return f"{building}: {', '.join(counts[:_KINDS])}{more}", "\n".join(lines)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(sorted(names)[:_NAMED]) + more


def _name(row: Trouble) -> str:
    noun, counted = _NOUNS.get(row.code), _counted(row.subject)
    if row.code == NODE_GONE:
        return f"node {row.subject}"
    if noun is None:
        return f"{row.code} on {row.node}" + ("" if counted else f" ({row.subject})")
    return f"a {noun} of {row.node}" if counted else f"{noun} {row.node}/{row.subject}"


def _counted(subject: str) -> bool:
    return subject.startswith("#")


def _since(key: Key, now: int, heard: bool) -> int:
    return now - (_GONE if key.code.endswith(".gone") else 0) if heard else 0


def _lasting(row: Trouble) -> int:
    if row.code == SILENT and row.times == 1:
        return 0
    return LASTING << min(row.times - 1, _DOUBLINGS)


def _clean(text: Any) -> str:
    """At most 80 printable characters, without the mark of counted troubles."""
    printable = "".join(c for c in str(text)[:200] if c.isprintable()).strip().lstrip("#")
    return printable[:79] + ("…" if len(printable) > 79 else "")


def _clock(ms: int, now: int) -> str:
    when, today = (datetime.fromtimestamp(t / 1000).astimezone() for t in (ms, now))
    return f"{when:%H:%M}" if when.date() == today.date() else f"{when:%Y-%m-%d %H:%M}"


def _after(row: Trouble) -> str:
    if not row.since:
        return ""
    minutes = max(1, round((row.absent - row.since) / MINUTE))
    if minutes < 120:
        return f" after {minutes} min"
    return f" after {round(minutes / 60)} h" if minutes < 2880 else f" after {round(minutes / 1440)} days"
