"""One node: the houses built, wired and run."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil

import agent
from agent import ticks
from agent.api import Resources, serve_image
from agent.blobs import BlobExchange, BlobStore, ByHand
from agent.cameras import CameraBook
from agent.config import Config
from agent.config.quota import blob_quota
from agent.delivery import Context, Deciders, DeliveryEngine, Journal
from agent.discovery import Discovery, Found
from agent.errors import EdgeError, JoinRefused, Refused, Unreachable
from agent.executors import DockerExecutor, Executors, Policy, ProcessExecutor, WasmExecutor
from agent.health import HealthRegistry
from agent.identity import (
    AdmissionDesk,
    EnrolmentServer,
    Identity,
    IdentityStore,
    PeerIdentity,
    Renewal,
    TokenBook,
    Trust,
)
from agent.identity.renewal import renewal_handler
from agent.mesh import Mesh, MeshSettings, usable_addresses
from agent.mesh.addresses import local_addresses, parse_address
from agent.model.alert import Hello
from agent.model.node import Capacity
from agent.node.bell import Bell
from agent.node.camera_access import BookCameras
from agent.node.closing import close_all
from agent.node.documents import DocumentReader
from agent.node.fresh import FreshBlobs
from agent.node.health import Watch
from agent.node.labels import Labels
from agent.node.leftovers import sweep
from agent.node.logs import StepLogs
from agent.node.resources import make_resources
from agent.node.sources import SourceSteps
from agent.node.warmth import Warmth
from agent.platforms import detect
from agent.steps import Presence, StepKinds
from agent.supervise import supervised
from agent.uplink import Uplink, UplinkSettings

log = logging.getLogger(__name__)

Api = Callable[[Resources], Awaitable[None]]
CAPACITY_EVERY = 10.0


class Agent:
    """Everything that one node has. `run` is its life; `api` are the resources of the local API."""

    def __init__(
        self,
        config: Config,
        identity: Identity,
        *,
        wanted: dict[str, str],
        endpoints: list[str] | None = None,
        had_state: bool = True,
    ) -> None:
        self._config = config
        self.identity = identity
        self.wanted = wanted
        self.had_state = had_state
        self.version = agent.__version__
        self.platform = detect(docker_host=config.docker.host)
        self.health = HealthRegistry()
        self.trust = Trust(identity.ca_der)
        self.bell = Bell()
        self._build_mesh(config, endpoints or [])
        self._build_work(config)
        self._build_admission(config)
        self.documents = DocumentReader(self)
        self.sources = SourceSteps(self)
        self.warmth = Warmth(self)
        self.watch = Watch(self)
        self.api = make_resources(self)
        self._serve_verbs()

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config

    @property
    def node_id(self) -> str:
        """This node's id."""
        return self.identity.node_id

    # -- building -----------------------------------------------------------------------------------------------------

    def _build_mesh(self, config: Config, endpoints: list[str]) -> None:
        settings = MeshSettings(
            listen=config.mesh.listen,
            port=config.mesh.port,
            advertise=config.mesh.advertise,
            join=[*config.mesh.join, *usable_addresses(endpoints, config.mesh.port)],
            version=self.version,
        )
        self.mesh = Mesh(self.identity, self.trust, settings, config.state)
        self.mesh.announce(labels={"arch": self.platform.arch})
        self.labels = Labels(self.identity, self.mesh)
        self.discovery = Discovery(self._found, interfaces=interfaces_of(config)) if config.mesh.mdns else None

    def _found(self, found: Found) -> None:
        if found.mesh == self.identity.mesh_id and found.node != self.node_id:
            for address in found.mesh_addresses:
                self.mesh.add_endpoint(address)

    def _build_work(self, config: Config) -> None:
        state = config.state
        self.blobs = BlobStore(state / "blobs", blob_quota(config.blobs.quota, state))
        self.exchange = BlobExchange(self.blobs, self.mesh.call, self._may_read)
        for verb, handler in self.exchange.verbs.items():
            self.mesh.serve(verb, handler)
        folder = state if config.journal.dir == Path() else config.journal.dir
        self.journal = Journal(folder / "journal.db", max_open=config.journal.max_open)
        self.mesh.on_change(lambda record, alive: self.bell.ring())
        self.fresh = FreshBlobs(self.blobs, self.journal)
        self.added = ByHand(state / "added-blobs")
        self.blobs.needs.add(self.added)
        self.wasm = WasmExecutor(state / "cache" / "wasm", state / "scratch" / "wasm")
        self.docker = DockerExecutor(self.node_id, state / "scratch" / "docker", host=config.docker.host)
        self.process = ProcessExecutor(state / "scratch" / "process")
        self.cameras = CameraBook(cameras_file(config))
        self.logs_kept = StepLogs(self.mesh.publish_log)
        self.uplink = Uplink(
            state / "uplink",
            Hello(self.identity.mesh_id, self.node_id, self.identity.name, self.identity.ca_pem.decode()),
            settings=UplinkSettings(spool=config.uplink.spool, macs=config.uplink.macs),
            sign=self.identity.sign,
            certificate=self.identity.cert_der,
        )
        self.pipelines = DeliveryEngine(
            self.node_id, self.identity.name, self.mesh, self.journal, self.blobs, self._fetch, self._steps,
            allowed={
                "wasm": config.policy.wasm,
                "docker": config.policy.docker,
                "process": config.policy.process,
                "camera": config.policy.camera,
            },
            show=self._publish_event,
            definition_changed=lambda name: self.bell.ring(),
        )  # fmt: skip
        self.presence = self.pipelines.steps.presence
        self.uplink.on_delivered = self.pipelines.steps.sink.delivered
        self.uplink.on_refused = self.pipelines.steps.sink.refused

    def _steps(self, context: Context, deciders: Deciders) -> StepKinds:
        policy = self.config.policy
        return StepKinds(
            context,
            mesh_id=self.identity.mesh_id,
            executors=Executors(self.wasm, self.docker, self.process, Policy.of(policy), self.fresh),
            cameras=BookCameras(self.cameras) if policy.camera else None,
            presence=Presence(deciders),
            path_of=self.blobs.path,
            writer=self.fresh,
            submit=self.uplink.submit,
            log_to=self.logs_kept.write,
        )

    def _build_admission(self, config: Config) -> None:
        self.tokens = TokenBook(config.state / "tokens.json")
        self.desk: AdmissionDesk | None = None
        if self.identity.ca_key_pem is not None:
            self.desk = AdmissionDesk(
                self.identity,
                self.trust,
                self.tokens,
                name_taken=self._name_taken,
                on_joined=self._on_joined,
                endpoints=self._endpoints,
                standing=lambda peer: (self.labels.name_of(peer.id) or peer.name, peer.role),
            )
            self.mesh.serve("enrol.renew", renewal_handler(self.desk))
        self.enrolment = EnrolmentServer(
            self.identity,
            host=config.mesh.listen,
            port=config.mesh.enrol_port,
            desk=self.desk,
            relay=self._relay,
            certificate_of=self._certificate_of,
        )
        self.mesh.serve("enrol.redeem", lambda _peer, body: self.enrolment.redeem(body))
        self._renewals = asyncio.Event()
        self.renewal = Renewal(
            self.identity,
            IdentityStore(config.state / "identity"),
            call=self.mesh.call,
            operators=self.operators,
            on_renewed=self._renewed,
            addresses=self._enrolment_of_others,
        )

    def _serve_verbs(self) -> None:
        self.mesh.serve("docker.image", lambda _peer, body: serve_image(self.docker, body))
        self.mesh.serve("device.list", self.api.devices.serve_list)
        self.mesh.serve("device.forget", self.api.devices.serve_forget)
        self.mesh.serve("node.renew", self._renew_now)

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self, api: Api | None = None) -> None:
        """Run until cancelled; raises what cannot be mended by starting a service again."""
        try:
            self.pipelines.load()
            self.documents.load()
            await sweep(self.blobs, self.added)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.mesh.run())
                await self.mesh.ready.wait()
                await self.docker.start()
                tasks.create_task(self.pipelines.run())
                for name, run in self._services(api):
                    tasks.create_task(supervised(name, run, self.health.restarted))
                if self.discovery is not None:
                    self.discovery.announce(
                        self.identity.mesh_id,
                        self.node_id,
                        self.identity.name,
                        self.config.mesh.port,
                        self.config.mesh.enrol_port,
                        version=self.version,
                    )
                log.info("node %s (%s) is in mesh %s", self.identity.name, self.node_id, self.identity.mesh_id)
        finally:
            await self._close()

    def _services(self, api: Api | None) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        services: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("enrolment", self.enrolment.run),
            ("renewal", self.renewal.run),
            ("certificate", self._use_renewed),
            ("labels", self._keep_labels),
            ("sources", self.sources.run),
            ("cameras", self.cameras.run),
            ("uplink", self.uplink.run),
            ("fresh blobs", self.fresh.run),
            ("capacity", self._tell_capacity),
            ("warmth", self.warmth.run),
            ("health", self.watch.run),
        ]
        if self.discovery is not None:
            services.append(("discovery", self.discovery.run))
        if api is not None:
            services.append(("api", lambda: api(self.api)))
        return services

    async def _close(self) -> None:
        parts = (self.cameras, self.wasm, self.docker, self.exchange, self.blobs, self.journal)
        await close_all(*(part.close for part in parts))

    async def _keep_labels(self) -> None:
        """Have the labels that this node should have, whenever operators come or what is wanted changes."""
        while True:
            wanted = dict(self.wanted)
            if self.cameras.list():
                wanted["camera"] = "true"
            if self.uplink.configured:
                wanted["uplink"] = "true"
            await self.labels.want(wanted)
            await ticks.sleep(2.0 if self.labels.unsigned else 10.0)

    async def _tell_capacity(self) -> None:
        """Announce what this node can take, and its cameras, when either changes."""
        told: tuple[Any, ...] = ()
        while True:
            memory = int(psutil.virtual_memory().available * self.config.policy.memory)
            cpus = (os.cpu_count() or 1) * self.config.policy.cpus
            free = max(1, self.journal.room() // 100)
            now = (cpus, memory >> 28, free, self.cameras.infos())
            if now != told:
                told = now
                self.mesh.announce(capacity=Capacity(cpus, memory, free), cameras=self.cameras.infos())
            await ticks.sleep(CAPACITY_EVERY)

    # -- wires --------------------------------------------------------------------------------------------------------

    async def _fetch(self, cid: str, holders: list[str], timeout: float, size: int | None) -> Path:
        return await self.exchange.fetch(cid, holders, timeout=timeout, size=size)

    def _may_read(self, node_id: str, cid: str) -> bool:
        peer = next((n for n in self.mesh.live() if n.id == node_id), None)
        return (peer is not None and peer.role == "operator") or self.blobs.needs.may_read(node_id, cid)

    def _publish_event(self, event: dict[str, Any]) -> None:
        """Tell those who watch; of an event that is too long for that all but its data."""
        whole = msgspec.json.encode(event)
        try:
            try:
                self.mesh.publish_log("events", whole.decode())
            except Refused:
                short = {**event, "data": {}, "omitted": len(whole)}
                self.mesh.publish_log("events", msgspec.json.encode(short).decode())
        except EdgeError as e:
            log.debug("an event was not published: %s", e)

    def operators(self) -> list[str]:
        """Ids of the live operators."""
        return [n.id for n in self.mesh.live() if n.role == "operator"]

    async def _relay(self, operator: str, body: bytes) -> bytes:
        """Pass a joiner's request to the operator that it names, or to any."""
        error: EdgeError = Unreachable("no operator of the mesh is here", hint="start the node that issued the token")
        for node in [operator] if operator else self.operators():
            try:
                return await self.mesh.call(node, "enrol.redeem", body, timeout=10.0)
            except JoinRefused:
                raise
            except EdgeError as e:
                error = e
        raise error

    def _certificate_of(self, node_id: str) -> bytes | None:
        record = next((n for n in self.mesh.known() if n.id == node_id), None)
        return record.certificate if record is not None and record.certificate else None

    def _name_taken(self, name: str, node_id: str) -> bool:
        return any(n.name == name and n.id != node_id for n in self.mesh.known())

    async def _on_joined(self, node_id: str, name: str, role: str, labels: dict[str, str]) -> None:
        await self.labels.sign(node_id, labels, name)
        log.info("%s (%s) joined as %s with %s", name, node_id, role, labels or "no labels")

    def _endpoints(self) -> list[str]:
        own = self._addresses(self.config.mesh.port)
        others = [e for n in self.mesh.live() if n.id != self.node_id for e in n.endpoints[:2]]
        return (own + others)[:16]

    def _addresses(self, port: int) -> list[str]:
        if self.config.mesh.advertise:
            hosts = [parse_address(a, port).rpartition(":")[0] for a in self.config.mesh.advertise]
            return [f"{h}:{port}" for h in hosts]
        return local_addresses(self.config.mesh.listen, port)

    def _enrolment_of_others(self) -> list[str]:
        """Where other members let nodes in, as far as their usual port tells: for an expired certificate."""
        hosts = {str(e.address).rpartition(":")[0] for e in self.mesh.endpoints()}
        return [f"{h}:{self.config.mesh.enrol_port}" for h in sorted(hosts)][:16]

    def enrol_addresses(self) -> list[str]:
        """Where new nodes knock: here, then at other members."""
        return self._addresses(self.config.mesh.enrol_port)[:16]

    def join_line(self, **options: Any) -> str:
        """The exact command for the next device, with a fresh token."""
        token = self.tokens.issue(self.identity, self.enrol_addresses(), **options)
        return f"edge-agent serve --join {token.encode()}"

    async def _renew_now(self, peer: PeerIdentity, body: bytes) -> bytes:
        if peer.is_operator:
            await self.renewal.renew()
        return b""

    def _renewed(self, identity: Identity) -> None:
        self.identity = identity
        self.enrolment.update(identity)
        self.labels.identity = identity
        self._renewals.set()

    async def _use_renewed(self) -> None:
        """Open the mesh anew with each renewed certificate.

        Apart from the renewal: the answer to who asked for it goes by the session that closes here.
        """
        while True:
            await self._renewals.wait()
            identity = self.identity
            await self.mesh.use(identity)
            if identity is self.identity:
                self._renewals.clear()


def cameras_file(config: Config) -> Path:
    """Where this node's cameras are written down."""
    return config.state / "cameras.yaml" if config.cameras_file == Path() else config.cameras_file


def interfaces_of(config: Config) -> list[str] | None:
    """The interfaces that mDNS uses: those of the listen address, None for all of them."""
    if config.mesh.listen in ("0.0.0.0", "::"):  # noqa: S104
        return None
    found = [
        name for name, addresses in psutil.net_if_addrs().items() for a in addresses if a.address == config.mesh.listen
    ]
    return found or None
