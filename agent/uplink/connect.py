"""The sink of this node: `sink.json`, 0600, and `sink connect`, which writes it."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import msgspec

from agent.errors import ConfigError, IdentityError, SinkError, Unreachable
from agent.files import write_private
from agent.model.alert import Hello
from agent.model.envelope import key_id
from agent.uplink.address import SinkAddress, parse_address
from agent.uplink.https import ANSWER_TIMEOUT, HttpsClient
from agent.uplink.ledger import EgressLedger
from agent.uplink.outcome import Outcome, SinkClient, Verdict
from agent.uplink.wire import PinMismatch


class SinkConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The content of `sink.json`; `password` is the broker's, for MQTT."""

    address: str
    key: str
    password: str = ""

    def __repr__(self) -> str:
        return f"SinkConfig({parse_address(self.address).url})"


def load_sink(path: Path) -> SinkConfig | None:
    """The stored sink, or None when no sink is stored; raises ConfigError when the file is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=SinkConfig)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as e:
        raise ConfigError(f"{path} is damaged", hint="run `edge-agent sink connect` again") from e


def store_sink(path: Path, config: SinkConfig) -> None:
    """Store it, 0600, atomically."""
    write_private(path, msgspec.json.encode(config))


def open_client(config: SinkConfig, hello: Hello, ledger: EgressLedger, timeout: float = ANSWER_TIMEOUT) -> SinkClient:
    """The way to this sink, which is given `timeout` seconds for each answer. Nothing is sent yet."""
    address = parse_address(config.address)
    if address.scheme == "https":
        return HttpsClient(address, config.key, ledger, answer_timeout=timeout)
    # Imported here: only nodes with a broker pay for the start and memory of its client.
    from agent.uplink.mqtt import MqttClient

    return MqttClient(address, config.key, config.password, hello.mesh, hello.node, ledger, answer_timeout=timeout)


def checked(url_with_pin: str, key: str, password: str = "") -> SinkConfig:
    """A config from the user's input; raises ConfigError or IdentityError that names the mistake."""
    config = SinkConfig(parse_address(url_with_pin).line, key.strip(), password)
    key_id(config.key)
    return config


async def connect(path: Path, config: SinkConfig, hello: Hello, ledger: EgressLedger) -> None:
    """Try the sink and store it. Raises Unreachable, SinkError (`sink.pin`, …) or IdentityError (`sink.key`)."""
    async with aclosing(open_client(config, hello, ledger)) as client:
        outcome = await client.send("hello", msgspec.msgpack.encode(hello))
    _raise(outcome, parse_address(config.address))
    store_sink(path, config)


def _raise(outcome: Outcome, address: SinkAddress) -> None:
    match outcome.verdict:
        case Verdict.STORED:
            return
        case Verdict.DENIED if outcome.code == PinMismatch.code:
            raise PinMismatch(outcome.reason, hint="copy the line again from where the sink runs")
        case Verdict.DENIED:
            raise IdentityError(
                f"{address.url} does not accept this key: {outcome.reason}",
                code="sink.key",
                hint="`edge-sink key create` makes a new key",
            )
        case Verdict.DOWN:
            raise Unreachable(outcome.reason, code="sink.unreachable", hint="is `edge-sink serve` running there?")
        case _:
            raise SinkError(
                f"{address.url} is not a sink: {outcome.reason}", hint="copy the line that `edge-sink serve` printed"
            )
