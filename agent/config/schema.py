"""Every key of the configuration, one struct per section; `docs/configuration.md` is generated from here."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

DEFAULT_STATE = Path("/var/lib/edge-agent")
DEFAULT_SOCKET = Path("/run/edge-agent/agent.sock")
DEFAULT_FILE = Path("/etc/edge-agent/config.yaml")
DEFAULT_RELEASE = Path("/etc/edge-agent/release")


def duration(description: str) -> Meta:
    """A float of seconds that is written like `30s`."""
    return Meta(description=description, ge=0, extra={"unit": "duration"})


def size(description: str) -> Meta:
    """An int of bytes that is written like `64MiB`."""
    return Meta(description=description, ge=0, extra={"unit": "size"})


def port(description: str) -> Meta:
    """A TCP port."""
    return Meta(description=description, ge=0, le=65535)


def default_name() -> str:
    """The host's name without its domain."""
    name = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname().split(".")[0])
    return name[:63].strip("-") or "node"


class MeshConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The private network of nodes."""

    listen: Annotated[str, Meta(description="Address that the mesh and enrolment ports listen on.")] = "0.0.0.0"  # noqa: S104
    port: Annotated[int, port("TCP port of the mesh (mTLS).")] = 7946
    enrol_port: Annotated[int, port("TCP port where new nodes join.")] = 7947
    advertise: Annotated[
        list[str],
        Meta(description="`HOST` or `HOST:PORT` told to other nodes; empty: the addresses of the interfaces."),
    ] = []
    mdns: Annotated[bool, Meta(description="Announce this node and find others by mDNS.")] = True
    join: Annotated[
        list[str], Meta(description="`HOST:PORT` of members to link to, where mDNS does not reach them.")
    ] = []


class PolicyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The permissions that the owner of this node gives to pipelines."""

    wasm: Annotated[bool, Meta(description="Run signed WASM modules.")] = True
    docker: Annotated[bool, Meta(description="Run containers without network.")] = True
    process: Annotated[bool, Meta(description="Run plain executables of this host.")] = False
    camera: Annotated[bool, Meta(description="Take photos when a pipeline asks for them.")] = True
    cpus: Annotated[float, Meta(description="Share of the CPU cores for steps.", gt=0, le=1)] = 0.5
    memory: Annotated[float, Meta(description="Share of the memory for steps.", gt=0, le=1)] = 0.5


class BlobsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Photos and other bytes kept on this node."""

    quota: Annotated[int, size("Most bytes of blobs on disk; 0: the lesser of 5 GB and 10 % of the free space.")] = 0


class JournalConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where accepted events wait."""

    max_open: Annotated[int, Meta(description="Most events open at once; above it deliveries are refused.", ge=1)] = (
        10000
    )
    dir: Annotated[Path, Meta(description="Folder of the journal and the logs of steps; empty: `volatile`.")] = Path()


class LogsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The logs of steps on this node, beside the journal."""

    size: Annotated[
        int,
        size(
            "Most bytes of all logs, beside the journal; the oldest executions go first. 0: the lesser of 64 MiB "
            "and 10 % of the space that is free or has logs."
        ),
    ] = 0


class SourcesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The logs that `tail: auto` reads on this node."""

    tail: Annotated[
        list[str | dict[str, Any]],
        Meta(description='Paths, `auto`, `journald`, `logread`, or `{syslog: "udp://:5514", allow: […]}`.'),
    ] = msgspec.field(default_factory=lambda: ["auto"])


class DockerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The container engine."""

    host: Annotated[str, Meta(description="Address of the engine; empty: `DOCKER_HOST` or the standard socket.")] = ""
    largest_image: Annotated[
        int, size("Largest image that this node takes from other nodes, for pipelines that name it; 0: none.")
    ] = 4 << 30


class UplinkConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The data that leaves the building. The sink itself is set by `edge-agent sink connect`."""

    status: Annotated[bool, Meta(description="Send the status summary as well as alerts.")] = True
    status_every: Annotated[float, duration("Longest pause between summaries; a sink may ask for less.")] = 900.0
    macs: Annotated[bool, Meta(description="Let MAC addresses leave in the clear instead of as a keyed hash.")] = False
    spool: Annotated[int, size("Most bytes of alerts that wait for the sink.")] = 1 << 30


class ApiConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The local API on the unix socket `run`."""

    group: Annotated[str, Meta(description="Group that may read, if it exists (the socket is 0660).")] = "edge-agent"
    operators: Annotated[str, Meta(description="Group that may also change things, besides root.")] = "edge-operator"


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The agent's own log, on stderr."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Least severe lines to write.")] = (
        "info"
    )
    format: Annotated[
        Literal["auto", "text", "json"], Meta(description="`auto`: text, with journald priorities under systemd.")
    ] = "auto"


class InstallConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The install server: it hands out the packages of a release to new devices, from `packages` in `state`."""

    serve: Annotated[bool, Meta(description="Serve packages where this node holds some.")] = True
    port: Annotated[int, port("TCP port (HTTPS) of the installer and its packages; the host is `mesh.listen`.")] = 7948


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole configuration of one agent. `origins` has the origin of each value by its dotted key."""

    name: Annotated[
        str,
        Meta(
            description="Friendly name of this node; default: the host's name.",
            pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$",
        ),
    ] = msgspec.field(default_factory=default_name)
    state: Annotated[Path, Meta(description="Folder of identity, journal, blobs and documents.")] = DEFAULT_STATE
    volatile: Annotated[
        Path,
        Meta(
            description="Folder of journal, logs, blobs and caches; empty: `state` (access points and small flash: in memory)."
        ),
    ] = Path()
    run: Annotated[Path, Meta(description="Unix socket of the local API.")] = DEFAULT_SOCKET
    release: Annotated[Path, Meta(description="Folder of root with the pinned key of releases.")] = DEFAULT_RELEASE
    labels: Annotated[
        dict[str, str], Meta(description="Labels that this node asks for; an operator confirms them.")
    ] = {}
    cameras_file: Annotated[Path, Meta(description="File of cameras, 0600; empty: `cameras.yaml` in `state`.")] = Path()
    mesh: MeshConfig = MeshConfig()
    policy: PolicyConfig = PolicyConfig()
    blobs: BlobsConfig = BlobsConfig()
    journal: JournalConfig = JournalConfig()
    sources: SourcesConfig = SourcesConfig()
    docker: DockerConfig = DockerConfig()
    uplink: UplinkConfig = UplinkConfig()
    api: ApiConfig = ApiConfig()
    log: LogConfig = LogConfig()
    logs: LogsConfig = LogsConfig()
    install: InstallConfig = InstallConfig()
    origins: dict[str, str] = {}

    @property
    def volatile_folder(self) -> Path:
        """The folder of journal, logs, blobs and caches."""
        return self.state if self.volatile == Path() else self.volatile

    def origin(self, key: str) -> str:
        """The origin of a key's value: `default`, `FILE:LINE`, `environment NAME` or `option --NAME`."""
        return self.origins.get(key, "default")
