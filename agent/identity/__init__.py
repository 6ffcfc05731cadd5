"""Who is who: keys, the mesh's CA and certificates, tokens and joining, signatures and signed documents."""

from agent.identity.certificates import clean_name
from agent.identity.dsse import open_envelope, sign_envelope
from agent.identity.files import read_private, write_private
from agent.identity.keys import node_id_of
from agent.identity.store import Identity, IdentityStore, PendingKey
from agent.identity.trust import PeerIdentity, Trust

__all__ = [
    "Identity",
    "IdentityStore",
    "PeerIdentity",
    "PendingKey",
    "Trust",
    "clean_name",
    "node_id_of",
    "open_envelope",
    "read_private",
    "sign_envelope",
    "write_private",
]
