"""The zenoh session: one per node, router mode over mTLS, re-opened without losing what was declared on it.

Facts behind the configuration (zenoh 1.10): in router mode nodes relay for each other; gossip with
autoconnect links routers that hear of each other; callbacks with `indirect=False` run in zenoh's own
threads, so nothing here costs a thread per call.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import zenoh

from agent.errors import Unreachable, listen_hint
from agent.identity import Identity
from agent.mesh.loop import soon
from agent.mesh.settings import MeshSettings

logger = logging.getLogger(__name__)

TX_WAIT_US = 20_000
"""Microseconds that a small message waits for room in a full transmit queue before it is dropped."""
CLOSE_SECONDS = 2.0
REOPEN_SECONDS, REOPEN_PAUSE = 60.0, 5.0
"""After how long a session that cannot reopen is worth a warning, and how often it tries from then on. A broken session
holds the port until it is closed, which takes zenoh 10 s and more."""
SETTLE_SECONDS = 0.7
"""Pause between the closing of one session of this process and the opening of the next.

zenoh's routers recompute their trees 100 ms after a change and send declarations to routers that are new in
them. A session that opens in the place of one that just closed does not look new, and would never get the
declarations.
"""
_closed_at = float("-inf")

_EVERYTHING = [
    "put", "delete", "declare_subscriber", "query", "reply", "declare_queryable",
    "liveliness_token", "liveliness_query", "declare_liveliness_subscriber",
]  # fmt: skip


class Link(msgspec.Struct, frozen=True):
    """A direct link: the zenoh id of the other session, the node id in its certificate, and both ends'
    `host:port`.
    """

    session: str
    node: str
    here: str
    there: str


def link_config(identity: Identity, lease: float) -> dict[str, Any]:
    """The part of zenoh's configuration that every session of this node shares: mTLS, gossip, no
    multicast.
    """

    def b64(data: bytes) -> str:
        return base64.b64encode(data).decode()

    return {
        "mode": "router",
        "connect/exit_on_failure": False,
        "scouting/delay": 0,
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": True,
        "scouting/gossip/autoconnect": {"router": ["router"]},
        "transport/link/tx/lease": int(lease * 1000),
        "transport/link/tx/queue/congestion_control/drop/wait_before_drop": TX_WAIT_US,
        "transport/unicast/max_sessions": 1000,
        "transport/link/tls": {
            "root_ca_certificate_base64": b64(identity.ca_pem),
            "enable_mtls": True,
            "verify_name_on_connect": False,
            "listen_certificate_base64": b64(identity.cert_pem),
            "listen_private_key_base64": b64(identity.key_pem),
            "connect_certificate_base64": b64(identity.cert_pem),
            "connect_private_key_base64": b64(identity.key_pem),
            "close_link_on_expiration": True,
        },
    }


def denial(removed: Iterable[str]) -> dict[str, Any]:
    """An access-control rule that blocks all traffic with the certificates of these node ids (their common
    name).
    """
    names = sorted(removed)
    if not names:
        return {}
    rule = {"id": "removed", "permission": "deny", "flows": ["ingress", "egress"], "messages": _EVERYTHING}
    return {
        "access_control": {
            "enabled": True,
            "default_permission": "allow",
            "rules": [{**rule, "key_exprs": ["**"]}],
            "subjects": [{"id": "removed", "cert_common_names": names}],
            "policies": [{"rules": ["removed"], "subjects": ["removed"]}],
        }
    }


async def open_session(settings: dict[str, Any]) -> Any:
    """Open a zenoh session in a thread; raises Unreachable where it cannot listen, without repeating the
    configuration.
    """
    config = zenoh.Config()
    try:
        for key, value in settings.items():
            config.insert_json5(key, json.dumps(value))
        await asyncio.sleep(_closed_at + SETTLE_SECONDS - time.monotonic())
        return await asyncio.to_thread(zenoh.open, config)
    except zenoh.ZError as error:
        where, number = settings.get("listen/endpoints", []), _number(error)
        places = ", ".join(w.removeprefix("tls/") for w in where) or "no port"
        raise Unreachable(
            f"the mesh cannot listen on {places}: {os.strerror(number) if number else _short(error)}",
            hint=listen_hint(number, "mesh.port", "mesh.listen"),
            code="mesh.open",
        ) from None


def _number(error: BaseException) -> int:
    """The errno in zenoh's text; 0 without one."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else 0


def _short(error: BaseException) -> str:
    return str(error).split(" at /", 1)[0][:300]


class MeshSession:
    """The main session. Declarations are remembered and made again by `reopen`; methods other than `open`
    never block for long.
    """

    def __init__(self, identity: Identity, settings: MeshSettings) -> None:
        self.identity = identity
        self.denied: set[str] = set()
        self.connect: Callable[[], list[str]] = list
        self._settings = settings
        self._declarations: dict[Callable[[Any], Any], Any] = {}
        self._session: Any = None
        self._lock = asyncio.Lock()
        self._up = asyncio.Event()
        self.broken = asyncio.Event()
        self._ending = False
        self.closed = ""
        """The reason why the session has been closed for long, or empty."""
        self.stirred = asyncio.Event()
        """Set when a link came or went, or the session broke; the reader clears it."""

    @property
    def zid(self) -> str:
        """The zenoh id of the open session, or the empty string."""
        return str(self._session.zid()) if self._session is not None else ""

    def declare(self, declaration: Callable[[Any], Any]) -> None:
        """Run `declaration(session)` now and after every reopen, and keep its result alive."""
        self._declarations[declaration] = declaration(self._session) if self._session is not None else None

    def undeclare(self, declaration: Callable[[Any], Any]) -> None:
        """Remove a declaration."""
        declared = self._declarations.pop(declaration, None)
        if declared is not None and self._session is not None:
            declared.undeclare()

    async def open(self) -> None:
        """Open the session and make the declarations; raises Unreachable where the port is taken."""
        async with self._lock:
            await self._open()

    async def reopen(self) -> None:
        """Close and open again with the present identity, denials and endpoints; declarations are made
        again. Retries until it is open; meanwhile this node works without its mesh.
        """
        async with self._lock:
            await self._close()
            start, pause = time.monotonic(), 0.5
            while True:
                try:
                    return await self._open()
                except Unreachable as error:  # a session that closes slowly still holds the port
                    logger.info("mesh: not open yet: %s", error)
                    if self._ending:
                        raise
                    if time.monotonic() - start > REOPEN_SECONDS:
                        self.closed, pause = error.message, REOPEN_PAUSE
                    await asyncio.sleep(pause)

    async def close(self) -> None:
        """Close the session; nothing is declared afterwards."""
        self._ending = True
        async with self._lock:
            self._ending = False
            await self._close()

    async def up(self, timeout: float) -> Any:
        """The open session; waits while it reopens. Raises Unreachable."""
        if self._session is None:
            try:
                async with asyncio.timeout(timeout):
                    while self._session is None:  # it may have closed again before this task continued
                        await self._up.wait()
            except TimeoutError:
                raise Unreachable("the mesh is not open", hint="the agent is starting or stopping") from None
        return self._session

    def put(self, key: str, payload: bytes) -> None:
        """Publish a small message; dropped while the session is closed or its queue is full."""
        if self._session is None:
            return
        try:
            self._session.put(key, payload, congestion_control=zenoh.CongestionControl.DROP, express=True)
        except zenoh.ZError as error:
            logger.debug("not published: %s", _short(error))
        except BaseException as error:
            if not is_panic(error):
                raise
            self.broke()

    def broke(self) -> None:
        """Note that the session failed inside: `broken` is set, and the session is opened again."""
        if not self.broken.is_set():
            logger.error("mesh: the session broke; reopening it")
            self.broken.set()
            self.stirred.set()

    def link_events(self, loop: asyncio.AbstractEventLoop) -> Callable[[Any], Any]:
        """The declaration that sets `stirred`."""
        heard: Any = zenoh.handlers.Callback(lambda _event: soon(loop, self.stirred.set), indirect=False)
        return lambda session: session.info.declare_link_events_listener(heard)

    def links(self) -> list[Link]:
        """The direct links of this node."""
        return links_of(self._session) if self._session is not None else []

    async def _open(self) -> None:
        host = f"[{self._settings.listen}]" if ":" in self._settings.listen else self._settings.listen
        session = await open_session(
            {
                **link_config(self.identity, self._settings.lease),
                **denial(self.denied),
                "listen/endpoints": [f"tls/{host}:{self._settings.port}"],
                "connect/endpoints": [f"tls/{a}" for a in self.connect()],
                "connect/timeout_ms": -1,
                "connect/retry": {"period_init_ms": 1000, "period_max_ms": 16000, "period_increase_factor": 2},
            }
        )
        try:
            for declaration in self._declarations:
                self._declarations[declaration] = declaration(session)
        except BaseException as error:
            await close_session(session)
            if isinstance(error, zenoh.ZError) or is_panic(error):
                raise Unreachable(
                    f"the mesh session broke after it had opened: {_short(error)}",
                    hint="start the agent again; report it if it comes back",
                    code="mesh.open",
                ) from None
            raise
        self._session, self.closed = session, ""
        self.stirred.set()
        self.broken.clear()
        self._up.set()

    async def _close(self) -> None:
        session, self._session = self._session, None
        self._up.clear()
        declared, self._declarations = list(self._declarations.values()), dict.fromkeys(self._declarations)
        if session is not None:
            await asyncio.to_thread(_undeclare, declared)
            await asyncio.sleep(0.05)
            await close_session(session)


def _undeclare(declared: list[Any]) -> None:
    # zenoh sometimes panics when a session closes that still has declarations.
    for declaration in declared:
        try:
            declaration.undeclare()
        except zenoh.ZError as error:
            logger.debug("not undeclared: %s", _short(error))
        except BaseException as error:
            if not is_panic(error):
                raise


async def close_session(session: Any) -> None:
    """Close a zenoh session in a thread; one that does not close in time is left behind and logged."""
    global _closed_at
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await _in_daemon(session.close)
    except TimeoutError:
        logger.warning("a mesh session did not close in %s s", CLOSE_SECONDS)
    except zenoh.ZError as error:
        logger.warning("a mesh session did not close cleanly: %s", _short(error))
    except BaseException as error:
        if not is_panic(error):
            raise
        logger.error("a mesh session broke while it closed")
    finally:
        _closed_at = time.monotonic()


async def _in_daemon(work: Callable[[], None]) -> None:
    """Run `work` in a thread that does not keep the process from ending."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  raised again below
            failed.append(error)
        soon(loop, done.set)

    threading.Thread(target=run, name="mesh-close", daemon=True).start()
    await done.wait()
    if failed:
        raise failed[0]


def is_panic(error: BaseException) -> bool:
    """Whether this is a failure inside zenoh, which it raises outside of Python's Exception tree."""
    return type(error).__name__ == "PanicException"


def links_of(session: Any) -> list[Link]:
    """The links of a zenoh session; one that is just closing, or broke, has none."""
    try:
        return [
            Link(str(link.zid), link.auth_identifier or "", address_of(link.src), address_of(link.dst))
            for link in session.info.links()
        ]
    except zenoh.ZError:
        return []
    except BaseException as error:
        if not is_panic(error):
            raise
        return []


def address_of(locator: str) -> str:
    """`host:port` of a zenoh locator like `tls/10.0.0.1:7946`."""
    return locator.partition("/")[2].partition("?")[0].partition("#")[0]
