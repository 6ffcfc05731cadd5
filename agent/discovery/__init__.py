"""Finding other nodes nearby, by mDNS."""

from agent.discovery.found import SERVICE, Found
from agent.discovery.interfaces import own_addresses
from agent.discovery.mdns import Discovery, listen_for_meshes

__all__ = ["SERVICE", "Discovery", "Found", "listen_for_meshes", "own_addresses"]
