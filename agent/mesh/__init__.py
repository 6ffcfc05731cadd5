"""The mesh: one zenoh session per node, presence, signed requests and replies, signed documents, and links that are
made again after a failure.
"""

from agent.mesh.addresses import local_addresses, parse_address, usable_addresses
from agent.mesh.callbacks import Changed, Handler, LabelsOf
from agent.mesh.documents import REMOVAL, Document, Documents
from agent.mesh.handshakes import watch_handshakes
from agent.mesh.introducer import Endpoint
from agent.mesh.logs import LogLine
from agent.mesh.mesh import Mesh
from agent.mesh.probes import LARGE, Probes, RoundTrip, Tried, path_mtu
from agent.mesh.session import Link
from agent.mesh.settings import MeshSettings

__all__ = [
    "LARGE", "REMOVAL", "Changed", "Document", "Documents", "Endpoint", "Handler", "LabelsOf", "Link", "LogLine", "Mesh",
    "MeshSettings", "Probes", "RoundTrip", "Tried", "local_addresses", "parse_address", "path_mtu", "usable_addresses",
    "watch_handshakes",
]  # fmt: skip
