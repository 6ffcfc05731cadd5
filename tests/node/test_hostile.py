"""What a member that means harm may say over the verbs of the service, and what its words are worth."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.api.resolve import Resolver, serve_image
from agent.definitions import load_pipeline
from agent.errors import NotFound, Refused
from agent.identity import PeerIdentity
from agent.node.agent import Agent
from tests.node.house import House

MAC = "02:00:00:00:00:01"
LABELS = {"docker": "true"}
TEXT = """\
version: 1
name: p
steps:
  wifi: {tail: auto, wasm: {module: bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy}}
  labels: {after: wifi, docker: {image: 'edge/detector:1'}, where: docker=true}
"""


def peer_of(agent: Agent) -> PeerIdentity:
    return agent.trust.peer(agent.identity.cert_der)


async def test_nobody_can_reckon_the_code_of_a_wish_and_each_wish_has_its_own(house: House) -> None:
    hall, porch, other = (house.agent(n) for n in ("hall", "porch", "other"))
    codes = []
    for labels in ({"camera": "true"}, {"gpu": "true"}, {"camera": "true"}, {"camera": "true"}):
        await hall.labels._wish(peer_of(porch), msgspec.json.encode(labels))
        codes.append(hall.labels.wishes[porch.node_id].code)
    assert len(set(codes)) == 3  # asking again for the same is no new wish
    assert codes[2] == codes[3]
    await hall.labels._wish(peer_of(other), msgspec.json.encode({"camera": "true"}))
    assert hall.labels.wishes[other.node_id].code not in codes
    for body in (b'{"a": "\xff"}', b"[" * 9000):
        with pytest.raises(Refused):
            await hall.labels._wish(peer_of(porch), body)
    for agent in (hall, porch, other):
        await agent._close()


@pytest.mark.parametrize("body", [b"\xa1\xff", b"\x91" * 9000 + b"\x90", msgspec.msgpack.encode({MAC: {"present": 1}}),
    msgspec.msgpack.encode({"zz": {"present": True, "first_seen": "", "last_seen": "", "node": ""}})])  # fmt: skip
async def test_a_member_that_lies_about_devices_keeps_nobody_from_seeing_the_others(house: House, body: bytes) -> None:
    hall, porch = await house.start("hall"), await house.start("porch")

    async def lie(peer: PeerIdentity, asked: bytes) -> bytes:
        return body

    porch.mesh.serve("device.list", lie)
    await hall.api.devices.update(MAC, name="Anna's phone", known=True)
    assert [d.id for d in await hall.api.devices.all()] == [MAC]
    with pytest.raises(Refused):
        await hall.api.devices.serve_forget(peer_of(porch), msgspec.msgpack.encode(MAC))


@pytest.mark.parametrize(
    "name", ["", "../../containers/x", "a/../../containers/x", "a?b", "a b", "x" * 600, "/etc", "a\n", "%2e%2e/x"]
)
async def test_only_names_of_images_reach_the_engine(house: House, name: str) -> None:
    hall = house.agent("hall")
    with pytest.raises(Refused):
        await serve_image(hall.docker, msgspec.msgpack.encode(name))
    for body in (b"", b"\xa1\xff", b"\x01", b"\x91" * 9000):
        with pytest.raises(Refused):
            await serve_image(hall.docker, body)
    await hall._close()


async def test_what_a_member_says_is_an_image_id_is_signed_only_if_it_is_one(house: House) -> None:
    hall, porch = await house.start("hall"), await house.start("porch")
    await hall.api.nodes.label("porch", LABELS, [])
    said: Any = "evil:latest"

    async def answer(peer: PeerIdentity, body: bytes) -> bytes:
        return msgspec.msgpack.encode(said)

    porch.mesh.serve("docker.image", answer)
    with pytest.raises(NotFound):
        await Resolver(hall.mesh, hall.blobs, hall.wasm).resolve(load_pipeline(TEXT), {}, keep=False)
    said = "sha256:" + "0" * 64
    made, _ = await Resolver(hall.mesh, hall.blobs, hall.wasm).resolve(load_pipeline(TEXT), {}, keep=False)
    assert made.steps[1].task["image"] == said
