"""The uplink: takes alerts, keeps them until the sink has stored them, and then reports them as delivered."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from agent import ticks
from agent.backoff import Backoff, doubling
from agent.errors import EdgeError, NotFound, Refused
from agent.model.alert import MAX_ALERT, Alert, Hello, StatusSummary
from agent.model.envelope import REQUEST_ID
from agent.model.event import now
from agent.model.health import Warning
from agent.uplink.connect import checked, connect, load_sink, open_client
from agent.uplink.https import ANSWER_TIMEOUT
from agent.uplink.ledger import EgressLedger
from agent.uplink.mask import has_mac, load_mask_key, mask_event
from agent.uplink.outcome import Outcome, SinkClient, Verdict
from agent.uplink.spool import MAX_BYTES, Settled, Spool, Waiting

logger = logging.getLogger(__name__)

TOGETHER = 256 * 1024
"""Most bytes of alerts that are sent at the same time: on a slow line more would delay each other beyond the timeout."""
SILENT_AFTER = 60.0
"""Seconds without the sink until it becomes a health warning."""


class UplinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits in bytes and pauses in seconds; `macs` lets plain MAC addresses leave.

    The pause between tries doubles from the first to the longest, and a random half of it is left off.
    """

    spool: int = MAX_BYTES
    macs: bool = False
    first_pause: float = 0.5
    longest_pause: float = 60.0
    answer_timeout: float = ANSWER_TIMEOUT


class Uplink:
    """The one way out of the building. One instance per node, also on nodes that have no sink (then it refuses alerts).

    `delivered(event id)` is called on the loop when the sink has the alert on disk, `refused(event id, reason)`
    when it will never take it; both again after a restart and for a repeated `submit`, so they have to be idempotent.
    `sign`, where given, turns an unsigned alert into a signed one: it gets the bytes and returns a DER signature.
    """

    def __init__(
        self,
        state: Path,
        hello: Hello,
        *,
        settings: UplinkSettings | None = None,
        sign: Callable[[bytes], bytes] | None = None,
        certificate: bytes = b"",
        delivered: Callable[[str], None] = lambda _id: None,
        refused: Callable[[str, str], None] = lambda _id, _reason: None,
    ) -> None:
        self._on_delivered, self._on_refused = delivered, refused
        self.connected = False
        self.hello = hello
        self._settings = settings or UplinkSettings()
        pauses = doubling(self._settings.first_pause, self._settings.longest_pause)
        self._backoff = Backoff(pauses, jitter=(0.5, 1.0))
        self._sign, self._certificate = sign, certificate
        self._file = state / "sink.json"
        self._config = load_sink(self._file)
        self._spool = Spool(state / "spool.db", max_bytes=self._settings.spool)
        self.ledger = EgressLedger(state / "egress.db")
        self._mask_key = load_mask_key(state / "mask.key")
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        self._status: bytes | None = None
        self.asked_every = 0.0
        """Seconds between status summaries that the sink asks for; 0 if it asks for none."""
        self._due: dict[str, float] = {}
        self._flying: dict[str, tuple[int, asyncio.Task[None]]] = {}
        """Alerts on their way: their bytes, and the task that waits for the answer."""
        self._failures = 0
        self._not_before = 0.0
        self._last_error = ""
        self._denied = False
        self._silent_since: float | None = None
        self._delivered = self._refused = 0
        self._last = ""
        """The time of the last delivery since the start."""

    @property
    def configured(self) -> bool:
        """Whether this node has a sink, as the label `uplink=true` says."""
        return self._config is not None

    async def connect(self, url_with_pin: str, key: str, password: str = "") -> None:
        """`sink connect`: try the sink, store it, use it from now on. Raises the errors of `connect.connect`."""
        config = checked(url_with_pin, key, password)
        await connect(self._file, config, self.hello, self.ledger)
        self._config = config
        self._reset()
        logger.info("connected to the sink at %s", config)

    async def disconnect(self) -> None:
        """Forget the sink; waiting alerts stay in the spool. Raises NotFound when no sink is stored."""
        if self._config is None:
            raise NotFound("this node has no sink", hint="`edge-agent sink connect` gives it one")
        self._file.unlink(missing_ok=True)
        self._config = None
        self._reset()

    async def submit(self, alert: Alert) -> None:
        """Commit the alert to the spool; harmless to repeat. Raises Refused (`uplink.full`, `.disk`, `.no-sink`, `.too-
        large`, `.mac`).
        """
        if self._config is None:
            raise Refused("this node has no sink", code="uplink.no-sink", hint="run `edge-agent sink connect` on it")
        if not REQUEST_ID.match(alert.event.id):
            raise Refused(f"{alert.event.id!r} is not an event's id", code="uplink.malformed")
        try:
            alert = self._sealed(alert)
            body = msgspec.msgpack.encode(alert)
        except (OverflowError, RecursionError, ValueError, TypeError) as e:
            raise Refused(f"the event cannot be sent: {e}", code="uplink.malformed") from None
        if len(body) > MAX_ALERT:
            raise Refused(
                f"the alert has {len(body)} bytes; the limit is {MAX_ALERT}",
                code="uplink.too-large",
                hint="rescale the photo before the sink step",
            )
        try:
            settled = await asyncio.to_thread(self._spool.add, alert.event.id, body)
        except sqlite3.Error as e:
            raise Refused(
                f"the spool of the uplink cannot be written: {e}",
                code="uplink.disk",
                hint="is the disk of the state folder full, or read-only?",
            ) from e
        if settled is None:
            self._wake.set()
        else:
            asyncio.get_running_loop().call_soon(self._tell, settled)

    async def send_status(self, summary: StatusSummary) -> None:
        """Send this summary when the sink can be reached, and the newest one only. Never blocks and never fails."""
        self._status = msgspec.msgpack.encode(summary)
        self._wake.set()

    def state(self) -> dict[str, Any]:
        """For `status`: the configured sink, whether it works, and the waiting alerts. Ages in seconds, sizes in bytes."""
        waiting, size, oldest = self._spool.usage()
        total = self.ledger.totals()["all"]
        return {
            "configured": self.configured,
            "connected": self.connected,
            "sink": repr(self._config)[len("SinkConfig(") : -1] if self._config else "",
            "waiting": waiting,
            "waiting_bytes": size,
            "oldest_s": round(oldest, 1),
            "last_error": self._last_error,
            "delivered": self._delivered,
            "refused": self._refused,
            "last": self._last,
            "bytes_up": total["up"],
            "bytes_down": total["down"],
        }

    def warnings(self) -> list[Warning]:
        """The warnings about the sink now, for the health registry."""
        subject = repr(self._config)[len("SinkConfig(") : -1] if self._config else ""
        if self._denied:
            return [
                Warning(
                    "sink.denied",
                    subject,
                    self._last_error,
                    "run `edge-agent sink connect` with a new line and key",
                    "error",
                )
            ]
        if self._silent_since is not None and time.monotonic() - self._silent_since >= SILENT_AFTER:
            waiting, _size, _oldest = self._spool.usage()
            text = (
                f"no sink for {time.monotonic() - self._silent_since:.0f} s, {waiting} alerts wait: {self._last_error}"
            )
            return [Warning("sink.unreachable", subject, text, "is `edge-sink serve` running, and is its port open?")]
        return []

    async def run(self) -> None:
        """Deliver until cancelled; then closes its files. After a fault it may be run again."""
        try:
            for settled in await asyncio.to_thread(self._spool.settled):
                self._tell(settled)
            while True:
                self._changed.clear()
                await self._until_changed()
        except asyncio.CancelledError:
            self._spool.close()
            self.ledger.close()
            raise

    async def _until_changed(self) -> None:
        """Deliver to the sink as it is configured now."""
        if self._config is None:
            await self._changed.wait()
            return
        client = open_client(self._config, self.hello, self.ledger, self._settings.answer_timeout)
        async with aclosing(client), asyncio.TaskGroup() as tasks:
            while not self._changed.is_set():
                await self._step(client, tasks)
            for _, task in self._flying.values():
                task.cancel()  # the next sink gets them; if this one has them already, their ids show it later

    async def _step(self, client: SinkClient, tasks: asyncio.TaskGroup) -> None:
        """Send one alert on its way, or have one other exchange with the sink, or wait once."""
        self._wake.clear()
        if (pause := self._not_before - time.monotonic()) > 0:
            await self._sleep(pause, wake=False)
            return
        # A sink that did not answer is tried with one alert, not with several.
        room = (client.at_once if self.connected else 1) - len(self._flying)
        item = await asyncio.to_thread(self._spool.next, tuple(self._flying)) if room > 0 else None
        if item is not None and self._flying and sum(n for n, _ in self._flying.values()) + len(item.body) > TOGETHER:
            item = None
        if item is not None and (pause := self._due.get(item.id, 0.0) - time.monotonic()) <= 0:
            task = tasks.create_task(self._deliver(client, item))
            self._flying[item.id] = (len(item.body), task)
            task.add_done_callback(partial(self._landed, item.id))
        elif self._status is not None and not self._flying:
            before, body, self._status = self._failures, self._status, None
            outcome = await client.send("status", body)
            if outcome.verdict not in (Verdict.STORED, Verdict.REFUSED) and self._status is None:
                self._status = body
            if outcome.verdict is Verdict.STORED:
                self.asked_every = outcome.every
            self._after(outcome, before)
        elif not self.connected and not self._flying:
            before = self._failures
            self._after(await client.send("hello", msgspec.msgpack.encode(self.hello)), before)
        else:
            await self._sleep(pause if item is not None else None, wake=True)

    def _landed(self, ident: str, _task: object) -> None:
        del self._flying[ident]
        self._wake.set()

    async def _deliver(self, client: SinkClient, item: Waiting) -> None:
        before = self._failures
        outcome = await client.send("alert", item.body, item.id)
        if outcome.verdict is Verdict.STORED:
            await self._settle(Settled(item.id, "delivered", ""))
        elif outcome.verdict is Verdict.REFUSED:
            logger.warning("the sink refuses alert %s for good: %s", item.id, outcome.reason)
            await self._settle(Settled(item.id, "refused", outcome.reason))
        elif outcome.verdict is Verdict.RETRY:
            await asyncio.to_thread(self._spool.failed, item.id, outcome.reason)
            self._due[item.id] = time.monotonic() + self._backoff.after(item.attempts + 1)
        self._after(outcome, before)

    async def _settle(self, settled: Settled) -> None:
        """Remember and report it, in this order: after a crash in between, `run` reports what it remembers."""
        self._due.pop(settled.id, None)
        if settled.state == "delivered":
            self._delivered, self._last = self._delivered + 1, now()
        else:
            self._refused += 1
        await asyncio.to_thread(self._spool.settle, settled.id, settled.state, settled.reason)
        self._tell(settled)

    def _tell(self, settled: Settled) -> None:
        try:
            if settled.state == "delivered":
                self._on_delivered(settled.id)
            else:
                self._on_refused(settled.id, settled.reason)
        except EdgeError as e:
            logger.error("alert %s is settled, but its end could not be recorded: %s", settled.id, e.message)

    def _after(self, outcome: Outcome, before: int) -> None:
        """Note the state of the connection, and let the next try wait as long as the outcome asks for.

        `before` is how many failures in a row there were when the try began: those that were under way together when
        the sink went away are one failure.
        """
        if self._changed.is_set():
            return  # the answer is of the previous sink
        if outcome.verdict in (Verdict.STORED, Verdict.REFUSED):
            if not self.connected:
                logger.info("the sink answers")
            self.connected, self._failures, self._denied = True, 0, False
            self._silent_since, self._last_error = None, ""
            return
        if self._failures == 0 or outcome.reason != self._last_error:
            logger.warning("sending to the sink failed: %s", outcome.reason)
        if self._failures == before:
            self._failures += 1
        self._last_error = outcome.reason
        self._denied = outcome.verdict is Verdict.DENIED
        self.connected = False
        if self._silent_since is None:
            self._silent_since = time.monotonic()
        # The alert itself may be at fault: the next one is tried at once.
        failures = self._failures - (outcome.verdict is Verdict.RETRY)
        pause = max(outcome.wait, self._backoff.after(failures))
        self._not_before = max(self._not_before, time.monotonic() + pause)

    async def _sleep(self, seconds: float | None, *, wake: bool) -> None:
        """Wait; a new sink always ends it, new work only with `wake`."""
        await ticks.wait(self._wake if wake else self._changed, seconds)  # a new sink sets both

    def _sealed(self, alert: Alert) -> Alert:
        """The alert masked and signed, if it is this node's and unsigned; an alert of another node is only checked."""
        if not alert.signature and self._sign is not None:
            event = alert.event if self._settings.macs else mask_event(alert.event, self._mask_key)
            alert = msgspec.structs.replace(alert, event=event, certificate=self._certificate)
            alert.signature = self._sign(alert.signed_bytes())
        elif not self._settings.macs and has_mac(alert.event):
            raise Refused(
                "a MAC address would leave the building with this alert",
                code="uplink.mac",
                hint="mask the event before it is signed (agent.uplink.mask_event), or allow it: uplink.macs",
            )
        return alert

    def _reset(self) -> None:
        self.connected, self._failures, self._denied, self._last_error, self._silent_since = False, 0, False, "", None
        self._due.clear()
        self._not_before = self.asked_every = 0.0
        self._changed.set()
        self._wake.set()
