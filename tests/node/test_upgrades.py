"""Upgrades over a real mesh: everything real but the release's installer, which is a short shell script."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import __version__
from agent.api import results
from agent.api.requests import Upgrade
from agent.blobs import hash_bytes
from agent.errors import EdgeError, NotFound, Refused
from agent.installed import Installed
from agent.node import Node
from agent.release import OFFER, Library, Offer, ReleaseStore, SigningKey, install_staged
from tests.node.site import Site
from tests.release.making import package, signed
from tests.support import eventually

OWNER = SigningKey.generate()
VERSION = "0.2.0"
TREE = bytes(range(256)) * 20_000
FILE = f"edge-agent-{VERSION}-x86_64.tar.xz"
GOOD = b"#!/bin/sh\nexit 0\n"
BACK = b"#!/bin/sh\necho 'install: version 0.2.0 did not come back; version 0.1.0 runs again' >&2\nexit 1\n"
QUICK = Upgrade(wait=20.0)


class Building:
    """`hall` hands out a release; `porch` takes it, as the kind of machine that the installer makes."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.hall: Node
        self.porch: Node

    async def start(self) -> None:
        for name in ("hall", "porch"):
            ReleaseStore(self.site.folder / name / "pinned").pin(OWNER.public.pem)
        self.hall = await self.site.start("hall", release=str(self.site.folder / "hall/pinned"))
        self.porch = await self.site.start("porch", release=str(self.site.folder / "porch/pinned"))
        upgrades = self.porch.upgrades
        upgrades.this = Installed(version=__version__, arch="x86_64")
        upgrades.can = lambda: "root"
        upgrades.ask = self.install

    def install(self, folder: Path) -> None:
        """Root's part, and the new version's start."""
        store = self.porch.upgrades.store

        def work() -> None:
            if install_staged(folder, store).ok:
                self.loop.call_soon_threadsafe(lambda: self.porch.mesh.announce(version=VERSION))

        threading.Thread(target=work).start()

    def hand_out(self, script: bytes = GOOD, key: SigningKey = OWNER, **more: Any) -> None:
        self.loop = asyncio.get_running_loop()
        folder = self.site.folder / "hall/packages"
        folder.mkdir()
        fields: dict[str, Any] = {
            "packages": (package(TREE, file=FILE),),
            "installer": hashlib.sha256(script).hexdigest(),
        }
        raw, signature = signed(key, VERSION, **{**fields, **more})
        files = {"manifest.json": raw, "manifest.json.sig": signature, "install.sh": script, FILE: TREE}
        for name, data in files.items():
            (folder / name).write_bytes(data)

    async def upgrade(self, node: str = "porch") -> results.UpgradeState:
        """The end of an upgrade."""
        await self.hall.api.upgrades.begin(node, QUICK)
        async with asyncio.timeout(30):
            while (state := await self.hall.api.upgrades.state(node)).state not in ("done", "failed"):
                await asyncio.sleep(0.02)
        return state


@pytest.fixture
async def building(site: Site) -> Building:
    made = Building(site)
    await made.start()
    return made


async def test_a_node_takes_a_release_of_its_operator(building: Building) -> None:
    building.hand_out()
    before = await building.hall.api.upgrades.release()
    assert [(n.node, n.version, n.current) for n in before.nodes] == [
        ("porch", __version__, False),
        ("hall", __version__, False),
    ]
    state = await building.upgrade()
    assert (state.state, state.running, state.text) == ("done", VERSION, "version 0.2.0 is installed"), state
    current = building.porch.upgrades.store.current
    assert current is not None
    assert current.version == VERSION


async def test_a_node_that_went_back_says_why(building: Building) -> None:
    building.hand_out(BACK)
    state = await building.upgrade()
    assert state.state == "failed"
    assert "porch went back: version 0.2.0 did not come back" in state.text
    assert state.running == __version__


async def test_a_release_of_the_operators_making_is_refused(building: Building) -> None:
    building.hand_out(key=SigningKey.generate())
    state = await building.upgrade()
    assert state.state == "failed"
    assert "sign" in state.text
    assert not (building.site.folder / "porch/upgrade").exists()


async def test_a_release_of_another_protocol_is_refused(building: Building) -> None:
    building.hand_out(protocol=2)
    state = await building.upgrade()
    assert (state.state, "speaks protocol 2" in state.text, bool(state.hint)) == ("failed", True, True)


async def test_an_agent_without_the_installer_is_refused(building: Building) -> None:
    building.hand_out()
    building.porch.upgrades.can = lambda: ""
    state = await building.upgrade()
    assert (state.state, "not put here by the installer" in state.text) == ("failed", True)


async def test_only_an_operator_offers_releases(building: Building) -> None:
    offer = msgspec.msgpack.encode(Offer(*signed(OWNER, VERSION)))
    building.hall.upgrades.can = lambda: "root"
    with pytest.raises(Refused) as raised:
        await building.porch.mesh.call(building.hall.mesh.me.id, OFFER, offer)
    assert raised.value.code == "not-operator"


async def test_a_member_begins_no_upgrade(building: Building) -> None:
    with pytest.raises(Refused, match="not an operator"):
        await building.porch.api.upgrades.begin("hall", QUICK)


async def test_an_operator_without_a_release_says_what_to_do(building: Building) -> None:
    with pytest.raises(NotFound) as raised:
        await building.hall.api.upgrades.release()
    assert "release import" in raised.value.hint


async def test_files_are_read_by_the_offered_node_alone(building: Building) -> None:
    need = building.hall.stores.handed_out
    need.add("bafy1", "porch")
    assert (need.may_read("porch", "bafy1"), need.may_read("garage", "bafy1"), need.needs("bafy1")) == (
        True,
        False,
        True,
    )
    assert need.clear() == {"bafy1"}
    assert not need.may_read("porch", "bafy1")


async def test_no_file_of_the_release_stays_in_the_blobs(building: Building) -> None:
    building.hand_out()
    await building.upgrade()
    for node in (building.hall, building.porch):
        blobs = node.stores.blobs
        cid = hash_bytes(TREE).cid
        await eventually(lambda blobs=blobs, cid=cid: not blobs.has(cid), 10)


async def test_messages_out_of_order_are_refused(building: Building) -> None:
    call: Callable[..., Awaitable[bytes]] = building.hall.mesh.call
    for verb, body in (("upgrade.stage", ["0.2.0", {}]), ("upgrade.start", ["0.2.0"]), ("upgrade.stage", 7)):
        with pytest.raises(EdgeError) as raised:
            await call(building.porch.mesh.me.id, verb, msgspec.msgpack.encode(body))
        assert raised.value.code in ("upgrade.order", "bad")


def test_a_release_is_brought_in_whole_or_not_at_all(tmp_path: Path) -> None:
    library = Library(tmp_path / "packages")
    with pytest.raises(EdgeError):
        library.bring(tmp_path, OWNER.public)
    assert not (tmp_path / "packages").exists()
