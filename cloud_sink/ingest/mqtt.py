"""Alerts over an MQTT broker: the same intake as HTTPS, and a sealed answer for each (agent/model/envelope.py)."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import ssl
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.errors import ConfigError, EdgeError, IdentityError, Refused
from agent.model.alert import MAX_ALERT
from agent.model.envelope import PREFIX, REQUEST_ID, check, open_envelope, seal
from agent.rates import Rates
from agent.tls import pinned_context
from cloud_sink.ingest.answers import TooMany, answer_of, unknown_key
from cloud_sink.ingest.intake import Intake
from cloud_sink.settings import Limits
from cloud_sink.store import Access

logger = logging.getLogger(__name__)

QUEUE = 32
"""Most messages that wait to be stored; further messages are dropped, and their senders send them again."""
KINDS = ("alert", "status", "hello")
_OVERHEAD = 1024
_KEY_ID = re.compile(r"[a-z0-9]{8}\Z")


class Broker(msgspec.Struct, frozen=True):
    """A broker's address: `mqtt://` is unencrypted; `mqtts://` trusts the system's CAs or a pin."""

    host: str
    port: int
    tls: bool
    user: str
    pin: str

    @property
    def name(self) -> str:
        """The address for logs."""
        return f"{self.host}:{self.port}"


def parse_broker(text: str) -> Broker:
    """The broker in a URL; raises ConfigError."""
    hint = "write mqtts://USER@HOST:PORT#sha256=…, or mqtt://HOST:PORT on the same machine"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as e:
        raise ConfigError(f"--mqtt: {e}", hint=hint) from e
    if parts.scheme not in ("mqtt", "mqtts") or not host:
        raise ConfigError("--mqtt is not a broker's URL", hint=hint)
    if parts.password is not None:
        raise ConfigError("--mqtt must not contain a password", hint="use --mqtt-password-file")
    pin = parts.fragment.removeprefix("sha256=").replace(":", "").lower()
    if parts.fragment and (parts.scheme == "mqtt" or not re.fullmatch(r"[0-9a-f]{64}", pin)):
        raise ConfigError("--mqtt: the pin must be sha256= and 64 hex digits, with mqtts", hint=hint)
    tls = parts.scheme == "mqtts"
    return Broker(host, port or (8883 if tls else 1883), tls, unquote(parts.username or ""), pin)


class _Client(paho.Client):  # type: ignore[misc]  # to mypy it is Any
    """Calls `on_end` with the error that ended its thread; paho's `loop_start` does not report it."""

    on_end: Callable[[str], object]

    def loop_forever(self, *args: Any, **kwargs: Any) -> paho.MQTTErrorCode:
        try:
            return super().loop_forever(*args, **kwargs)
        except Exception as e:  # noqa: BLE001 - raised again in `run`
            # As text: the error itself would hold this client, and its sockets, in a cycle.
            self.on_end("".join(traceback.format_exception(e)))
            return paho.MQTTErrorCode.MQTT_ERR_UNKNOWN


class MqttIngest:
    """Subscribes and answers messages until cancelled; paho reconnects by itself."""

    __name__ = "mqtt"

    def __init__(self, broker: Broker, password: str, intake: Intake, access: Access, limits: Limits) -> None:
        self._broker, self._password = broker, password
        self._intake, self._access = intake, access
        self._rates = Rates(limits.rate, limits.burst)
        self._queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(QUEUE)
        self._dropped = 0
        self.subscribed = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled; raises RuntimeError when paho's thread ends, because paho does not restart it."""
        loop = asyncio.get_running_loop()
        client = self._client(loop)
        ended: asyncio.Future[str] = loop.create_future()
        client.on_end = lambda why: loop.call_soon_threadsafe(ended.set_result, why)
        serving = asyncio.create_task(self._serve(client))
        client.connect_async(self._broker.host, self._broker.port, keepalive=60)
        client.loop_start()
        try:
            either: set[asyncio.Future[Any]] = {serving, ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            raise RuntimeError(f"paho's thread ended: {ended.result()}")
        finally:
            serving.cancel()
            client.disconnect()
            await asyncio.to_thread(client.loop_stop)

    async def _serve(self, client: paho.Client) -> None:
        while True:
            topic, payload = await self._queue.get()
            try:
                answer = await asyncio.to_thread(self._answer, topic, payload)
                if answer is not None:
                    client.publish(answer[0], answer[1], qos=1)
            except Exception:
                logger.exception("cannot answer a message on %s; dropping it", topic)

    def _client(self, loop: asyncio.AbstractEventLoop) -> _Client:
        client = _Client(CallbackAPIVersion.VERSION2, client_id=f"edge-sink-{secrets.token_hex(6)}")
        client.reconnect_delay_set(1, 30)
        if self._broker.user:
            client.username_pw_set(self._broker.user, self._password or None)
        if self._broker.tls:
            pin = self._broker.pin
            client.tls_set_context(pinned_context(pin) if pin else ssl.create_default_context())
            client.tls_insecure_set(bool(pin))

        def on_connect(c: Any, _u: Any, _f: Any, code: Any, _p: Any) -> None:
            if code.is_failure:
                logger.error("the broker at %s refuses the connection: %s", self._broker.name, code)
            else:
                c.subscribe([(f"{PREFIX}/+/{kind}", 1) for kind in KINDS])

        def on_subscribe(_c: Any, _u: Any, _m: Any, codes: Any, _p: Any) -> None:
            if any(c.is_failure for c in codes):
                logger.error("the broker at %s refuses the subscription to %s/+/…", self._broker.name, PREFIX)
            else:
                logger.info("taking alerts from the broker at %s", self._broker.name)
                loop.call_soon_threadsafe(self.subscribed.set)

        def on_disconnect(_c: Any, _u: Any, _f: Any, code: Any, _p: Any) -> None:
            if code.is_failure:
                logger.warning("lost the connection to the broker at %s: %s", self._broker.name, code)

        client.on_connect, client.on_subscribe, client.on_disconnect = on_connect, on_subscribe, on_disconnect
        client.on_connect_fail = lambda _c, _u: logger.warning(
            "cannot reach the broker at %s; trying again", self._broker.name
        )
        client.on_message = lambda _c, _u, m: self._take(loop, m)
        return client

    def _take(self, loop: asyncio.AbstractEventLoop, message: paho.MQTTMessage) -> None:
        """Queue a message if it may come from a building; runs in paho's thread, which an error would end."""
        try:
            topic = message.topic
            if len(message.payload) > MAX_ALERT + _OVERHEAD:
                raise Refused("the message is too large", code="sink.too-large")
        except UnicodeDecodeError:
            _refuse("?", Refused("the topic is not UTF-8", code="sink.malformed"))
        except Refused as e:
            _refuse(topic, e)
        else:
            loop.call_soon_threadsafe(self._put, topic, bytes(message.payload))

    def _put(self, topic: str, payload: bytes) -> None:
        try:
            self._queue.put_nowait((topic, payload))
        except asyncio.QueueFull:
            self._dropped += 1
            logger.warning("queue full: dropped %d messages so far; their senders send again", self._dropped)

    def _answer(self, topic: str, payload: bytes) -> tuple[str, bytes] | None:
        """The ack's topic and payload; None for a message that no key of this sink has sealed."""
        mesh, kind = topic.split("/")[1:3]
        try:
            envelope = open_envelope(payload)
            key = self._access.stored_key(envelope.key) if _KEY_ID.match(envelope.key) else None
            if key is None:
                raise unknown_key()
            check(envelope, key.digest, topic)
            request, body = _framed(envelope.body)
        except EdgeError as e:
            _refuse(topic, e)
            return None
        said = self._handle(kind, key.id, body)
        ack = f"{PREFIX}/{mesh}/ack/{request}"
        return ack, seal(key.id, key.digest, ack, msgspec.msgpack.encode(said))

    def _handle(self, kind: str, key_id: str, body: bytes) -> dict[str, Any]:
        status, headers = 200, dict[str, str]()
        try:
            key = self._access.key_by_id(key_id)
            if key is None:
                raise unknown_key()
            if wait := self._rates.take(key_id):
                raise TooMany(wait)
            if kind == "alert":
                event_id, new = self._intake.alert(key, body, "mqtt")
                said: dict[str, Any] = {"id": event_id, "stored": new}
            elif kind == "status":
                said = self._intake.status(key, body)
            else:
                said = {"building": self._intake.hello(key, body), "service": "edge-sink"}
        except EdgeError as e:
            status, headers, said = answer_of(e)
        except Exception:
            logger.exception("cannot store a message; answering with status 500")
            status, said = 500, {"message": "the sink failed"}
        return {"status": status, "headers": headers, "body": msgspec.json.encode(said)}


def _refuse(topic: str, e: EdgeError) -> None:
    answer_of(e)
    logger.warning("dropped a message on %s: %s", topic, e.message)


def _framed(raw: bytes) -> tuple[str, bytes]:
    try:
        request, body = msgspec.msgpack.decode(raw, type=tuple[str, bytes])
    except (msgspec.DecodeError, ValueError, RecursionError) as e:
        raise IdentityError("the envelope does not contain a request", code="sink.envelope") from e
    if not REQUEST_ID.match(request):
        raise IdentityError("the request has no id", code="sink.envelope")
    return request, body
