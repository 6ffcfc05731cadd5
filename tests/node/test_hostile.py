"""Malicious requests and answers of a member."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.api.requests import Label, UpdateDevice
from agent.api.resolve import Resolver, serve_image
from agent.errors import NotFound, Refused
from agent.identity import PeerIdentity
from agent.node import Node, close_node
from agent.steps import KINDS
from tests.node.site import Site
from tests.support import load_pipeline

MAC = "02:00:00:00:00:01"
LABELS = {"docker": "true"}
TEXT = """\
version: 1
name: p
steps:
  wifi: {tail: auto, wasm: {module: bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy}}
  labels: {after: wifi, docker: {image: 'edge/detector:1'}, where: docker=true}
"""


def peer_of(agent: Node) -> PeerIdentity:
    return agent.mesh.trust.peer(agent.admission.identity.cert_der)


async def test_codes_of_label_wishes_cannot_be_predicted(site: Site) -> None:
    hall, porch, other = (site.node(n) for n in ("hall", "porch", "other"))
    codes = []
    for labels in ({"camera": "true"}, {"gpu": "true"}, {"camera": "true"}, {"camera": "true"}):
        await hall.labels.serve_wish(peer_of(porch), msgspec.json.encode(labels))
        codes.append(hall.labels.wishes[porch.mesh.me.id].code)
    assert len(set(codes)) == 3  # the same labels again are the same wish
    assert codes[2] == codes[3]
    await hall.labels.serve_wish(peer_of(other), msgspec.json.encode({"camera": "true"}))
    assert hall.labels.wishes[other.mesh.me.id].code not in codes
    for body in (b'{"a": "\xff"}', b"[" * 9000):
        with pytest.raises(Refused):
            await hall.labels.serve_wish(peer_of(porch), body)
    for agent in (hall, porch, other):
        await close_node(agent)


@pytest.mark.parametrize("body", [b"\xa1\xff", b"\x91" * 9000 + b"\x90", msgspec.msgpack.encode({MAC: {"present": 1}}),
    msgspec.msgpack.encode({"zz": {"present": True, "first_seen": "", "last_seen": "", "node": ""}})])  # fmt: skip
async def test_false_answers_of_a_member_hide_no_other_devices(site: Site, body: bytes) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")

    async def lie(peer: PeerIdentity, asked: bytes) -> bytes:
        return body

    porch.mesh.serve("device.list", lie)
    await hall.api.devices.update(MAC, UpdateDevice("Anna's phone", True))
    assert [d.id for d in await hall.api.devices.all()] == [MAC]
    with pytest.raises(Refused):
        await hall.api.devices.serve_forget(peer_of(porch), msgspec.msgpack.encode(MAC))


@pytest.mark.parametrize(
    "name", ["", "../../containers/x", "a/../../containers/x", "a?b", "a b", "x" * 600, "/etc", "a\n", "%2e%2e/x"]
)
async def test_only_names_of_images_reach_the_engine(site: Site, name: str) -> None:
    hall = site.node("hall")
    with pytest.raises(Refused):
        await serve_image(hall.programs.docker, msgspec.msgpack.encode(name))
    for body in (b"", b"\xa1\xff", b"\x01", b"\x91" * 9000):
        with pytest.raises(Refused):
            await serve_image(hall.programs.docker, body)
    await close_node(hall)


async def test_only_a_real_image_id_of_a_member_is_signed(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    await hall.api.nodes.label("porch", Label(LABELS))
    said: Any = "evil:latest"

    async def answer(peer: PeerIdentity, body: bytes) -> bytes:
        return msgspec.msgpack.encode(said)

    porch.mesh.serve("docker.image", answer)
    with pytest.raises(NotFound):
        await Resolver(hall.mesh, hall.stores.blobs, hall.programs.wasm, KINDS).resolve(
            load_pipeline(TEXT), {}, keep=False
        )
    said = "sha256:" + "0" * 64
    made, _ = await Resolver(hall.mesh, hall.stores.blobs, hall.programs.wasm, KINDS).resolve(
        load_pipeline(TEXT), {}, keep=False
    )
    assert made.steps[1].task["image"] == said
