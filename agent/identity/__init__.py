"""Identities: keys, the mesh's CA and certificates, tokens and joining, signatures and signed documents."""

from agent.identity.certificates import clean_name
from agent.identity.desk import AdmissionDesk
from agent.identity.dsse import MAX_ENVELOPE, open_envelope, sign_envelope
from agent.identity.enrolment import EnrolmentServer
from agent.identity.joining import Joined, join, wait_as_pending
from agent.identity.keys import node_id_of, spki
from agent.identity.pending import PendingBook, PendingNode
from agent.identity.renewal import Renewal, renew_at, renewal_handler
from agent.identity.store import Identity, IdentityStore
from agent.identity.tokens import Token, TokenBook, TokenRecord
from agent.identity.trust import PeerIdentity, Trust
from agent.identity.wire import node_context

__all__ = [
    "MAX_ENVELOPE", "AdmissionDesk", "EnrolmentServer", "Identity", "IdentityStore", "Joined", "PeerIdentity",
    "PendingBook", "PendingNode", "Renewal", "Token", "TokenBook", "TokenRecord", "Trust",
    "clean_name", "join", "node_context", "node_id_of", "open_envelope", "renew_at", "renewal_handler", "sign_envelope", "spki",
    "wait_as_pending",
]  # fmt: skip
