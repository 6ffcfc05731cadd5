"""The sink by way of an MQTT broker: QoS 1, TLS by pin, and the sink's own answer before an alert counts as stored.

A broker's PUBACK only says that the broker has the message. So each request waits for the sink's answer on
`edge/<mesh>/ack/<request id>`, sealed with the sink's key (agent/model/envelope.py).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import struct
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.errors import IdentityError, in_words
from agent.model.envelope import PREFIX, check, key_digest, key_id, open_envelope, seal
from agent.tls import WrongPin, pinned_context
from agent.uplink.address import SinkAddress
from agent.uplink.ledger import EgressLedger
from agent.uplink.meter import Meter
from agent.uplink.outcome import Answer, Kind, Outcome, Verdict, judge
from agent.uplink.wire import PinMismatch

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0
ANSWER_TIMEOUT = 30.0
KEEPALIVE = 60
"""Seconds between MQTT pings on a quiet connection."""
_TCP_INFO_ACKED = 120
"""Offset of tcpi_bytes_acked, followed by tcpi_bytes_received, in Linux's struct tcp_info
(include/uapi/linux/tcp.h).
"""


class MqttClient:
    """Keeps one broker connection; paho's thread hands everything over to the loop."""

    at_once = 1
    """The sink answers messages from a broker one after the other."""

    def __init__(
        self, address: SinkAddress, key: str, password: str, mesh: str, node: str, ledger: EgressLedger,
        *, answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:  # fmt: skip
        self.address = address
        self._key_id, self._digest = key_id(key), key_digest(key)
        self._password = password
        self._mesh, self._node = mesh, node
        self._ledger = ledger
        self._timeout = answer_timeout
        self._client: paho.Client | None = None
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._meter = Meter()

    async def aclose(self) -> None:
        """See SinkClient."""
        client, self._client = self._client, None
        if client is not None:
            self._book(client, "close", "", "ok")
            client.disconnect()
            await asyncio.to_thread(client.loop_stop)

    async def send(self, kind: Kind, body: bytes, event_id: str = "") -> Outcome:
        """See SinkClient."""
        outcome = Outcome(Verdict.DOWN, "interrupted")
        try:
            client = await self._connected()
            answer = await self._request(client, kind, event_id or f"{kind}-{secrets.token_hex(8)}", body)
            outcome = judge(answer, event_id)
        except WrongPin as e:
            text = f"the broker's certificate is not the pinned certificate (sha256 {e.seen[:16]}…)"
            outcome = Outcome(Verdict.DENIED, text, code=PinMismatch.code)
        except _Rejected as e:
            outcome = Outcome(Verdict.DENIED, str(e))
        except TimeoutError:
            outcome = Outcome(Verdict.DOWN, f"no answer from the sink through {self.address.url} in time")
        except (OSError, ValueError) as e:
            outcome = Outcome(Verdict.DOWN, f"the broker at {self.address.url} cannot be reached: {in_words(e)}")
        finally:
            if self._client is not None:
                self._book(self._client, kind, event_id, outcome.reason or "stored")
                if outcome.verdict in (Verdict.DOWN, Verdict.DENIED):
                    await self.aclose()
        return outcome

    async def _request(self, client: paho.Client, kind: str, request: str, body: bytes) -> Answer:
        ack: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        topic, ack_topic = f"{PREFIX}/{self._mesh}/{kind}", f"{PREFIX}/{self._mesh}/ack/{request}"
        self._waiting[ack_topic] = ack
        framed = msgspec.msgpack.encode([request, body])
        try:
            client.publish(topic, seal(self._key_id, self._digest, topic, framed), qos=1)
            async with asyncio.timeout(self._timeout):
                return msgspec.msgpack.decode(await ack, type=Answer)
        except msgspec.DecodeError as e:
            raise ValueError("the sink's answer cannot be decoded") from e
        finally:
            self._waiting.pop(ack_topic, None)

    async def _connected(self) -> paho.Client:
        if self._client is not None and self._client.is_connected():
            return self._client
        await self.aclose()
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        failed: list[str] = []
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"edge-{self._node[:16]}-{secrets.token_hex(3)}",
            clean_session=True,
            # A new client for a new connection: its counts start at 0, and its pin is checked in `connect` below.
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT
        if self.address.user:
            client.username_pw_set(self.address.user, self._password or None)
        if self.address.pin:
            client.tls_set_context(pinned_context(self.address.pin))
            client.tls_insecure_set(True)

        def on_connect(_c: Any, _u: Any, _f: Any, code: Any, _p: Any) -> None:
            if code.is_failure:
                failed.append(str(code))
                loop.call_soon_threadsafe(ready.set)
            else:
                client.subscribe(f"{PREFIX}/{self._mesh}/ack/+", qos=1)

        def on_subscribe(_c: Any, _u: Any, _mid: Any, codes: Any, _p: Any) -> None:
            failed.extend(str(c) for c in codes if c.is_failure)
            loop.call_soon_threadsafe(ready.set)

        client.on_connect, client.on_subscribe = on_connect, on_subscribe
        client.on_message = lambda _c, _u, m: loop.call_soon_threadsafe(self._answered, m.topic, bytes(m.payload))
        self._meter = Meter()
        await asyncio.to_thread(client.connect, self.address.host, self.address.port, KEEPALIVE)
        self._client = client
        client.loop_start()
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await ready.wait()
        if failed:
            raise _Rejected(f"the broker at {self.address.url} refuses: {', '.join(failed)}")
        return client

    def _answered(self, topic: str, payload: bytes) -> None:
        ack = self._waiting.get(topic)
        if ack is None or ack.done():
            return
        try:
            envelope = open_envelope(payload)
            check(envelope, self._digest, topic)
        except IdentityError as e:
            logger.warning("an answer on %s does not come from the sink: %s", topic, e.message)
            return
        ack.set_result(envelope.body)

    def _book(self, client: paho.Client, kind: str, event_id: str, result: str) -> None:
        up, down = wire_bytes(client.socket())
        self._meter.up, self._meter.down = max(up, self._meter.up), max(down, self._meter.down)
        self._ledger.book(self._meter, kind=kind, event_id=event_id, sink=self.address.url, result=result)


class _Rejected(Exception):
    """The broker refuses this client."""


def wire_bytes(sock: Any) -> tuple[int, int]:
    """Bytes that a connected TCP socket has had acknowledged and received, by the kernel's own count; (0, 0) when
    gone.
    """
    if not isinstance(sock, socket.socket) or sock.fileno() < 0:
        return 0, 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    except OSError:
        return 0, 0
    if len(info) < _TCP_INFO_ACKED + 16:
        return 0, 0
    acked, received = struct.unpack_from("QQ", info, _TCP_INFO_ACKED)
    # The kernel counts the SYN as one acknowledged byte.
    return max(acked - 1, 0), received
