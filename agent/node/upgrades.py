"""The node's part of an upgrade: it judges an offered release, fetches its files, and asks for their installation."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from agent import PROTOCOL, __version__
from agent.blobs import BlobStore, GivesWay
from agent.environment import clean_environment
from agent.errors import EdgeError, IdentityError, NotFound, Refused, in_words
from agent.frozen import own_command
from agent.installed import Installed, installed
from agent.mesh import Handler
from agent.release import (
    INSTALLER,
    MANIFEST,
    MAX_INSTALLER,
    OFFER,
    REQUEST,
    STAGE,
    START,
    STATE,
    Manifest,
    Offer,
    Package,
    Progress,
    ReleaseStore,
    Stage,
    Start,
    Wanted,
    check_package,
    decode,
    read_last,
)  # fmt: skip

log = logging.getLogger(__name__)

FETCH = 1800.0
"""Seconds in which the files must come."""
_OWNER = "upgrade"
_UNITS = ("/etc/systemd/system/edge-agent-upgrade.path", "/lib/systemd/system/edge-agent-upgrade.path")

Fetch = Callable[..., Awaitable[Path]]
"""`BlobExchange.fetch`."""


class Peer(Protocol):
    """The node that asks."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def is_operator(self) -> bool: ...


class HandedOut:
    """The need of release files that this operator hands out: each for the nodes that it was offered to."""

    gives_way: GivesWay = "never"

    def __init__(self) -> None:
        self._readers: dict[str, set[str]] = {}

    def add(self, cid: str, node: str) -> None:
        """Let a node read a blob from now on."""
        self._readers = {**self._readers, cid: {*self._readers.get(cid, ()), node}}  # replaced whole: threads read it

    def clear(self) -> set[str]:
        """End all; returns the CIDs, which nothing needs any more."""
        gone, self._readers = set(self._readers), {}
        return gone

    def needs(self, cid: str) -> bool:
        """See Need."""
        return cid in self._readers

    def may_read(self, node_id: str, cid: str) -> bool:
        """See Need."""
        return node_id in self._readers.get(cid, ())


def ask_for_installation(folder: Path) -> None:
    """Let root's part install what is staged in `folder`; raises Refused where nothing here can do that, OSError.

    Under systemd a unit of root watches the request; elsewhere an agent that runs as root starts that part, which outlives it.
    """
    if can_install() == "service":
        return  # the request is the sign
    if can_install() != "root":
        raise by_hand()
    command = [*own_command(), "release", "install", str(folder)]
    subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_environment(),
        start_new_session=True, cwd="/",
    )  # fmt: skip


def can_install() -> str:
    """`service` where a unit of root installs, `root` where this frozen agent may do so itself, else empty."""
    if any(Path(unit).exists() for unit in _UNITS):
        return "service"
    return "root" if os.geteuid() == 0 and installed().frozen else ""


def by_hand() -> Refused:
    """The refusal of a node that the installer did not make."""
    return Refused(
        "this agent was not put here by the installer, so it cannot be upgraded from another node",
        hint="upgrade it there as it was installed, or run the installer's line (edge-agent token create prints it)",
        code="upgrade.by-hand",
    )


@dataclass
class Upgrades:
    """Answers the verbs of agent/release/offer.py, for operators only.

    `folder` (in the state) gets the files of the offered release; `store` is root's folder with the pinned key. `ask` makes
    the installation begin; `can` says whether there is a way.
    """

    folder: Path
    store: ReleaseStore
    fetch: Fetch
    blobs: BlobStore
    can: Callable[[], str] = can_install
    ask: Callable[[Path], None] = ask_for_installation
    this: Installed = field(default_factory=installed)
    _offered: tuple[Offer, Manifest, Package] | None = None
    _progress: Progress = field(default_factory=Progress)
    _task: asyncio.Task[None] | None = None

    @property
    def verbs(self) -> Mapping[str, Handler]:
        """The answers by verb."""
        return {OFFER: self.offer, STAGE: self.stage, STATE: self.state, START: self.start}

    async def offer(self, peer: Peer, body: bytes) -> bytes:
        """Judge a release; raises Refused, IdentityError, ConfigError and NotFound with the reason against it."""
        _operators(peer)
        if not self.can():
            raise by_hand()
        asked = decode(body, Offer)
        admission = await asyncio.to_thread(
            partial(self.store.admit, asked.manifest, asked.signature, running=self.this.version)
        )
        manifest = admission.manifest
        if manifest.protocol != PROTOCOL:
            raise Refused(
                f"release {manifest.version} speaks protocol {manifest.protocol}, and this mesh protocol {PROTOCOL}",
                hint="upgrade by a release of the same protocol, or run the new installer's line on every node",
                code="upgrade.protocol",
            )
        if manifest.version == self.this.version:
            return msgspec.msgpack.encode(Wanted(__version__, admission.way, {}))
        package = manifest.find(_kind(), self.this.arch, variant=self.this.variant)
        self._offered = asked, manifest, package
        return msgspec.msgpack.encode(
            Wanted(__version__, admission.way, {package.file: package.size, INSTALLER: MAX_INSTALLER})
        )

    async def stage(self, peer: Peer, body: bytes) -> bytes:
        """Begin to fetch the files of the offered release from this operator; raises Refused, NotFound."""
        _operators(peer)
        asked = decode(body, Stage)
        if self._offered is None or self._offered[1].version != asked.version:
            raise Refused(f"release {asked.version} was not offered", hint="try again", code="upgrade.order")
        _, manifest, package = self._offered
        if asked.files.keys() != {package.file, INSTALLER}:
            raise NotFound(f"{package.file} and {INSTALLER} are needed", hint="try again", code="release.file")
        if self._progress.state == "installing":
            raise Refused("an installation is under way", hint="wait until it has ended", code="upgrade.order")
        if self._task is not None:
            self._task.cancel()
        self._progress = Progress("fetching", manifest.version, size=package.size)
        self._task = asyncio.create_task(self._stage(peer.id, asked.files), name="upgrade")
        return msgspec.msgpack.encode(self._progress)

    async def state(self, peer: Peer, body: bytes) -> bytes:
        """How far it is; after a restart the result of the installation."""
        _operators(peer)
        del body
        return msgspec.msgpack.encode(await asyncio.to_thread(self._now))

    async def start(self, peer: Peer, body: bytes) -> bytes:
        """Ask for the installation of what is staged; raises Refused."""
        _operators(peer)
        asked = decode(body, Start)
        if (self._progress.state, self._progress.version) != ("staged", asked.version):
            raise Refused(f"release {asked.version} is not staged here", hint="try again", code="upgrade.order")
        request = os.urandom(16).hex()
        await asyncio.to_thread(self._request, request)
        self._progress = Progress("installing", asked.version, request=request)
        log.warning("%s asks for the installation of version %s; the agent starts again", peer.name, asked.version)
        return msgspec.msgpack.encode(self._progress)

    # -- in threads ---------------------------------------------------------------------------------------------------

    def _now(self) -> Progress:
        last = read_last(self.store.folder)
        if last is None:
            return self._progress
        if self._progress.state == "idle" or self._progress.request == last.request:
            return Progress("done" if last.ok else "failed", last.version, last.text, last.request)
        return self._progress

    def _request(self, number: str) -> None:
        """Write the request as the last file: it is the sign that the others are complete."""
        fresh = self.folder / f"{REQUEST}.new"
        fresh.write_text(number)
        fresh.rename(self.folder / REQUEST)
        self.ask(self.folder)

    async def _stage(self, holder: str, cids: Mapping[str, str]) -> None:
        assert self._offered is not None
        offered, manifest, package = self._offered
        try:
            await asyncio.to_thread(self._clear)
            for name, cid in cids.items():
                size = package.size if name == package.file else None
                path = await self.fetch(cid, [holder], timeout=FETCH, size=size, owner=_OWNER)
                await asyncio.to_thread(self._keep, name, path, manifest, package)
                self._progress = Progress(
                    "fetching", manifest.version, done=package.size if size else 0, size=package.size
                )
            await asyncio.to_thread(self._keep_manifest, offered)
            self._progress = Progress("staged", manifest.version, done=package.size, size=package.size)
        except (EdgeError, OSError) as e:
            text = e.message if isinstance(e, EdgeError) else in_words(e)
            log.warning("version %s could not be fetched: %s", manifest.version, text)
            self._progress = Progress("failed", manifest.version, text)
        finally:
            self.blobs.unpin(_OWNER)
            self.blobs.release(cids.values())

    def _clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True)

    def _keep(self, name: str, path: Path, manifest: Manifest, package: Package) -> None:
        target = self.folder / name
        shutil.copyfile(path, target)
        with target.open("rb") as file:
            if name == package.file:
                check_package(file, package)
            elif hashlib.file_digest(file, "sha256").hexdigest() != manifest.installer:
                raise IdentityError(
                    f"{name} is not the one of release {manifest.version}", hint="bring the release again",
                    code="release.installer",
                )  # fmt: skip

    def _keep_manifest(self, offered: Offer) -> None:
        (self.folder / MANIFEST).write_bytes(offered.manifest)
        (self.folder / f"{MANIFEST}.sig").write_bytes(offered.signature)


def _operators(peer: Peer) -> None:
    if not peer.is_operator:
        raise Refused(f"{peer.name} is not an operator", hint="run it on an operator", code="not-operator")


def _kind() -> str:
    """The kind of package that the installer can unpack here, as packaging/install chooses it."""
    if shutil.which("xz"):
        return "tar.xz"
    return "deb" if shutil.which("dpkg-deb") else "ipk"
