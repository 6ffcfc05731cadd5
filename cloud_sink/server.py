"""One running sink: HTTPS, MQTT, notifier and housekeeping in one event loop. SIGTERM stops it at once."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import uvicorn

from agent.backoff import Backoff, doubling
from agent.errors import ConfigError, listen_hint
from agent.files import write_private
from agent.handout import SCRIPT, is_complete
from agent.model.install_line import install_lines
from agent.supervise import supervised
from cloud_sink.app import Sink, create_app
from cloud_sink.certificate import ensure_certificate, key_pin, local_names, primary_address
from cloud_sink.clock import DAY, now_ms
from cloud_sink.connections import Door, ImpatientProtocol
from cloud_sink.files import private_folder
from cloud_sink.ingest.mqtt import Broker, MqttIngest
from cloud_sink.notify import ASKED_EVERY, SILENT, Channel, Notices, Notifier, Troubles, Watch
from cloud_sink.settings import Settings
from cloud_sink.status import NOTICES
from cloud_sink.store import Remembered

logger = logging.getLogger(__name__)

KEEP_ALIVE = 120
"""Seconds that an idle connection stays open; an uplink uses up to four connections for all its alerts."""
_HOURLY = 3600.0
BACKOFF = Backoff(doubling(1.0, 60.0))
"""The pauses before a failed part is started again: the page must stay up without the broker or Slack."""
SWITCH_INTERVAL = 0.0005
"""Seconds that one thread may run before it lets others run. With Python's default of 5 ms every answer waits that long
while the sink works on another alert.
"""

Part = Callable[[], Awaitable[None]]
"""A service that runs beside the web server until it is cancelled."""


class Extras(msgspec.Struct, frozen=True, kw_only=True):
    """Optional parts: a broker to take alerts from, and channels that show incidents."""

    broker: Broker | None = None
    broker_password: str = ""
    channels: list[Channel] = []

    def __repr__(self) -> str:
        return f"Extras(broker={self.broker}, channels={len(self.channels)})"


class Ready(msgspec.Struct, frozen=True):
    """The facts for the program that starts a sink. `key_file` leads to a secret and `login_url` is a secret."""

    url: str
    pin: str
    connect: str
    key_file: str
    login_url: str
    port: int
    pid: int = 0


class _Server(uvicorn.Server):
    """A server that leaves signals to `serve`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    settings: Settings,
    on_ready: Callable[[Ready, str], None],
    *,
    extras: Extras | None = None,
    login_link: bool = False,
) -> None:
    """Run until SIGTERM or SIGINT. `on_ready` gets the facts and, only at the first start, the text of a new key.

    Raises ConfigError, Unreachable (database) before anything listens.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    private_folder(settings.data)
    certificate, key, pin = ensure_certificate(settings.data, local_names(settings.host))
    listener = _listen(settings.host, settings.port)
    url = settings.public.rstrip("/") or _url(settings.host, listener.getsockname()[1])
    extras = extras or Extras()

    def install() -> str:
        if not is_complete(settings.handed_out):
            return ""
        script = hashlib.sha256((settings.handed_out / SCRIPT).read_bytes()).hexdigest()
        return install_lines(f"{url}/install", key_pin(certificate), script).curl

    sink = await asyncio.to_thread(Sink, settings, f"edge-agent sink connect {url}#sha256={pin}", install)
    try:
        await asyncio.to_thread(_remember, sink, extras)
        facts, new_key = await asyncio.to_thread(_first_start, sink, url, pin, listener.getsockname()[1], login_link)
        parts = _parts(sink, extras, url)
        await _run(sink, listener, (certificate, key), lambda: on_ready(facts, new_key), parts)
    finally:
        sink.close()
        listener.close()


async def _run(
    sink: Sink, listener: socket.socket, tls: tuple[Path, Path], ready: Callable[[], None], parts: dict[str, Part]
) -> None:
    sink.live.start()
    server = _Server(
        uvicorn.Config(
            create_app(sink),
            ssl_certfile=str(tls[0]),
            ssl_keyfile=str(tls[1]),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=2,
            http=ImpatientProtocol,
            h11_max_incomplete_event_size=16 * 1024,
        )
    )
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        web = group.create_task(server.serve(sockets=[listener]))
        others = [group.create_task(supervised(name, part, backoff=BACKOFF)) for name, part in parts.items()]
        while not server.started and not web.done():
            await asyncio.sleep(0.005)
        if server.started:
            ready()
        stopping = group.create_task(stop.wait())
        await asyncio.wait([web, stopping], return_when=asyncio.FIRST_COMPLETED)
        sink.live.close()
        server.should_exit = True
        for task in [*others, stopping]:
            task.cancel()


def _remember(sink: Sink, extras: Extras) -> None:
    """Store the setting of notices for `edge-sink status`; while they are off no trouble is followed."""
    kinds = list(dict.fromkeys(c.name.partition(":")[0] for c in extras.channels))
    Remembered(sink.engine).put(NOTICES, {"codes": list(sink.settings.notices), "channels": kinds})
    if not sink.settings.notices:
        Troubles(sink.engine, (), (), "").forget()


def _parts(sink: Sink, extras: Extras, url: str) -> dict[str, Part]:
    parts: dict[str, Part] = {"housekeeping": lambda: housekeeping(sink)}
    if extras.broker is not None:
        limits = sink.settings.limits
        parts["mqtt"] = MqttIngest(extras.broker, extras.broker_password, sink.intake, sink.access, limits).run
    if extras.channels:
        notifier = Notifier(extras.channels, Notices(sink.engine), sink.alerts, sink.photos)
        sink.intake.channels = [c.name for c in extras.channels]
        sink.on_alert = notifier.wake
        parts["notifier"] = notifier.run
        if sink.settings.notices:
            troubles = Troubles(sink.engine, sink.settings.notices, sink.intake.channels, url)
            sink.intake.every = ASKED_EVERY if SILENT in sink.settings.notices else 0
            parts["watch"] = Watch(troubles, notifier.wake).run
    return parts


async def housekeeping(sink: Sink) -> None:
    """Remove photos without an alert once at the start, and alerts older than `keep` days every hour."""
    # A database without alerts may be the wrong database, or may be in the middle of a restore.
    if await asyncio.to_thread(sink.alerts.newest) and (
        swept := await asyncio.to_thread(sink.photos.sweep, sink.alerts.digests)
    ):
        logger.info("removed %d photos without an alert", swept)
    while sink.settings.keep:
        before = now_ms() - sink.settings.keep * DAY
        while (found := await asyncio.to_thread(sink.alerts.prune, before))[0]:
            alerts, gone = found
            for digest in gone:
                await asyncio.to_thread(sink.photos.remove, digest)
            logger.info("removed %d alerts older than %d days, %d photos", alerts, sink.settings.keep, len(gone))
        await asyncio.sleep(_HOURLY)


def _first_start(sink: Sink, url: str, pin: str, port: int, login_link: bool) -> tuple[Ready, str]:
    key_file = sink.settings.data / "first.key"
    new_key = ""
    if not sink.access.all_keys():
        new_key = sink.access.create_key("Home")
        write_private(key_file, f"{new_key}\n".encode())
    users = sink.access.users()
    if not users:
        sink.access.add_user("owner")
        users = sink.access.users()
    link = ""
    if login_link or not any(u.password for u in users):
        link = f"{url}/login/{sink.access.login_link(users[0].name)}"
    connect = f"edge-agent sink connect {url}#sha256={pin}"
    return Ready(url, pin, connect, str(key_file) if key_file.exists() else "", link, port), new_key


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY on accepted connections only if the socket's protocol is given. Without it each answer waits
    # 40 ms for the client's delayed acknowledgement, because an answer is written in two parts.
    listener = Door(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
    except OSError as e:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host} port {port}: {os.strerror(e.errno or 0)}",
            hint=listen_hint(e.errno or 0, "--port", "--host"),
            code="sink.listen",
        ) from e
    return listener


def _url(host: str, port: int) -> str:
    shown = primary_address() if host in ("0.0.0.0", "::", "") else host  # noqa: S104
    return f"https://[{shown}]:{port}" if ":" in shown else f"https://{shown}:{port}"
