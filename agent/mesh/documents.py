"""Signed documents: the decisions of operators. After a while all nodes hold the same documents.

A document is a DSSE envelope around a small JSON payload. Of two documents with the same kind and name, the one
with the higher (counter, hash) wins, and a removal is a document too. So nodes agree without a master, in any order of arrival.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.errors import EdgeError, Refused
from agent.files import read_private, write_private
from agent.identity import MAX_ENVELOPE, Identity, PeerIdentity, Trust, open_envelope, sign_envelope
from agent.mesh import wire
from agent.mesh.limits import Refusals, fitting
from agent.mesh.wire import DocumentDigest, DocumentKey, DocumentPayload, Envelopes, MissingDocuments
from agent.model.decoding import DAMAGED

logger = logging.getLogger(__name__)

PAYLOAD_TYPE = "application/vnd.edge-agent.document+json"
REMOVAL = "removal"
"""The kind of document whose name is the id of a node that is removed from the mesh."""
MAX_DOCUMENTS = 4096
MAX_DOCUMENT = 1 << 20
"""Largest body of a document in bytes."""
MAX_BAD = 256
"""Unacceptable documents in one message (their signer was removed, for example) after which the rest is ignored."""
CHUNK = 4 << 20
"""Bytes of envelopes in one message; a message always takes at least one."""


class _NotKept(EdgeError):
    """The disk refuses a document."""

    code = "document.disk"


class Document(msgspec.Struct, frozen=True):
    """A signed document. `hash` is the SHA-256 (hex) of its payload, `signer` an operator's node id."""

    kind: str
    name: str
    counter: int
    hash: str
    signer: str
    body: bytes
    removed: bool = False
    envelope: bytes = b""

    @property
    def rank(self) -> tuple[int, str]:
        """Of two documents with the same kind and name, the one with the higher rank wins."""
        return (self.counter, self.hash)


class Documents:
    """The signed documents of this mesh, exchanged with other nodes. Use it on one event loop.

    Each envelope is a file, `<kind>/<name>.json` in the folder.
    """

    def __init__(self, identity: Identity, trust: Trust, folder: Path, refusals: Refusals) -> None:
        """Reads the folder; damaged files are left where they are, logged and not used."""
        self.identity, self.trust = identity, trust
        self._refusals = refusals
        self._folder = folder
        self._documents: dict[tuple[str, str], Document] = {}
        self._callbacks: list[Callable[[Document], None]] = []
        self._lock = asyncio.Lock()
        self.on_put: Callable[[Document], None] = lambda document: None
        self._load()

    def get(self, kind: str, name: str) -> Document | None:
        """The document in force, or None where there is none or it was removed."""
        document = self._documents.get((kind, name))
        return document if document is not None and not document.removed else None

    def list(self, kind: str) -> list[Document]:
        """The documents of a kind in force, by name."""
        found = [d for d in self._documents.values() if d.kind == kind and not d.removed]
        return sorted(found, key=lambda d: d.name)

    def all(self) -> builtins.list[Document]:
        """Every document, removals included."""
        return sorted(self._documents.values(), key=lambda d: (d.kind, d.name))

    def on_change(self, callback: Callable[[Document], None]) -> None:
        """Call back on the loop for each document that comes into force, removals included."""
        self._callbacks.append(callback)

    async def put(self, kind: str, name: str, body: bytes, *, removed: bool = False) -> Document:
        """Sign a document that overrides the present one, keep it, and send it to the live nodes.

        Raises Refused where this node is not an operator, or the document is too large or badly named.
        """
        if not self.identity.is_operator:
            raise Refused(
                f"{self.identity.name} is not an operator and cannot sign this",
                hint="run it on an operator",
                code="not-operator",
            )
        if kind == REMOVAL and not removed:
            await self._take_over(name)
        async with self._lock:
            old = self._documents.get((kind, name))
            payload = DocumentPayload(
                mesh=self.identity.mesh_id,
                kind=kind,
                name=name,
                counter=old.counter + 1 if old is not None else 1,
                removed=removed,
                body=body,
            )
            raw = sign_envelope(self.identity, PAYLOAD_TYPE, msgspec.json.encode(payload))
            document = self._open(raw, self.trust)
            await self._keep(document)
        self.on_put(document)
        return document

    async def receive(self, raw: bytes) -> bool:
        """Check an envelope and keep it if it wins; returns whether it did. Raises EdgeError where it is not
        acceptable.
        """
        document = self._open(raw, self.trust)
        async with self._lock:
            old = self._documents.get((document.kind, document.name))
            if old is not None and old.rank >= document.rank:
                return False
            await self._keep(document)
        return True

    # Exchange ------------------------------------------------------------------------------------------------

    def digest(self) -> bytes:
        """The documents of this node, for another node to compare."""
        return wire.encode(DocumentDigest([_key(d) for d in self._documents.values()]))

    async def compare(self, peer: PeerIdentity, body: bytes) -> bytes:
        """Answer `doc.digest`: the envelopes that the asking node lacks, as many as fit, and the keys of those
        that this node lacks.
        """
        del peer
        have = _decoded(DocumentDigest, body).have
        if len(have) > MAX_DOCUMENTS:
            raise Refused(f"a list of {len(have)} documents is too long", code="too-many")
        theirs = {(k.kind, k.name): (k.counter, k.hash) for k in have}
        newer = [d for key, d in self._documents.items() if d.rank > theirs.get(key, (0, ""))]
        lacking = [
            DocumentKey(kind, name, counter, hash_)
            for (kind, name), (counter, hash_) in theirs.items()
            if (counter, hash_) > self._rank(kind, name)
        ]
        return wire.encode(MissingDocuments(_chunk(newer), lacking[:MAX_DOCUMENTS]))

    async def accept(self, peer: PeerIdentity, body: bytes) -> bytes:
        """Answer `doc.put`: keep the documents that win, and answer when they are on disk. Raises the first error."""
        _, failed = await self._receive_all(_decoded(Envelopes, body).envelopes, peer.name)
        if failed is not None:
            raise failed
        return b""

    async def take(self, answer: bytes) -> tuple[int, bytes]:
        """Keep the documents of another node's answer; returns how many won, and a `doc.put` body of the documents
        that it lacks, if any.
        """
        missing = _decoded(MissingDocuments, answer)
        won, _ = await self._receive_all(missing.newer, "an exchange")
        wanted = [self._documents[k.kind, k.name] for k in missing.lacking if (k.kind, k.name) in self._documents]
        return won, wire.encode(Envelopes(_chunk(wanted))) if wanted else b""

    async def _receive_all(self, envelopes: builtins.list[bytes], sender: str) -> tuple[int, EdgeError | None]:
        """Keep the documents that win; returns their number and the first error. Stops after MAX_BAD bad documents."""
        won = bad = 0
        failed: EdgeError | None = None
        for raw in envelopes[:MAX_DOCUMENTS]:
            try:
                won += await self.receive(raw)
            except EdgeError as error:
                failed, bad = failed or error, bad + 1
                if isinstance(error, _NotKept):
                    logger.warning("mesh: %s", error)
                else:
                    self._refusals.note("document that is not acceptable", sender)
                if bad >= MAX_BAD:
                    break
            await asyncio.sleep(0)  # each costs a signature check, and other requests wait
        return won, failed

    # Inside --------------------------------------------------------------------------------------------------

    def _rank(self, kind: str, name: str) -> tuple[int, str]:
        document = self._documents.get((kind, name))
        return document.rank if document is not None else (0, "")

    def _open(self, raw: bytes, trust: Trust) -> Document:
        payload_bytes, signer = open_envelope(trust, raw, operator=True, payload_type=PAYLOAD_TYPE)
        try:
            payload = msgspec.json.decode(payload_bytes, type=DocumentPayload)
        except DAMAGED as error:
            raise Refused(f"a signed document is damaged: {error}", code="document") from None
        if payload.mesh != self.identity.mesh_id:
            raise Refused("a signed document is for another mesh", code="document")
        if not wire.WORD.match(payload.kind) or not wire.WORD.match(payload.name):
            raise Refused(f"{payload.kind}/{payload.name} is not a valid name of a document", code="document")
        if len(payload.body) > MAX_DOCUMENT:
            raise Refused(
                f"{payload.kind}/{payload.name} has {len(payload.body)} bytes; the limit is {MAX_DOCUMENT}",
                code="too-large",
            )
        if not 0 < payload.counter < 1 << 53:
            raise Refused(f"{payload.kind}/{payload.name} has an invalid counter", code="document")
        return Document(
            kind=payload.kind,
            name=payload.name,
            counter=payload.counter,
            hash=wire.digest(payload_bytes).hex(),
            signer=signer.id,
            body=payload.body,
            removed=payload.removed,
            envelope=raw,
        )

    async def _keep(self, document: Document) -> None:
        key = (document.kind, document.name)
        if key not in self._documents and len(self._documents) >= MAX_DOCUMENTS:
            raise Refused(f"this mesh has {MAX_DOCUMENTS} documents already", hint="remove some", code="too-many")
        try:
            path = self._folder / document.kind / f"{document.name}.json"
            await asyncio.to_thread(write_private, path, document.envelope)
        except OSError as error:
            if document.kind == REMOVAL:
                self._in_force(
                    document
                )  # a removal counts even when the disk is full; the document is asked for again, and kept then
            raise _NotKept(
                f"the document {'/'.join(key)} cannot be kept: {error}",
                hint="is the disk of the state folder full, or read-only?",
            ) from None
        self._documents[key] = document
        self._in_force(document)

    def _in_force(self, document: Document) -> None:
        self._enforce(document)
        for callback in self._callbacks:
            try:
                callback(document)
            except Exception:
                logger.exception("mesh: a callback failed for the document %s/%s", document.kind, document.name)

    def _enforce(self, document: Document) -> None:
        if document.kind != REMOVAL or document.name == self.identity.node_id:
            return
        if document.removed:
            self.trust.removed.discard(document.name)
        else:
            self.trust.removed.add(document.name)

    async def _take_over(self, node: str) -> None:
        """Sign the documents of a node again, which is about to be removed: its signatures will no longer count."""
        for document in [d for d in self._documents.values() if d.signer == node and node != self.identity.node_id]:
            try:
                await self.put(document.kind, document.name, document.body, removed=document.removed)
            except EdgeError as error:
                # A document of a bad operator must not keep other operators from removing that operator.
                logger.error("mesh: %s/%s cannot be signed again: %s", document.kind, document.name, error)

    def _load(self) -> None:
        # Documents on this disk were checked when they arrived; their signers may have been removed since.
        trust = Trust(self.identity.ca_der)
        for path in sorted(self._folder.glob("*/[!.]*.json")):
            try:
                document = self._open(read_private(path, MAX_ENVELOPE) or b"", trust)
            except (OSError, EdgeError) as error:
                logger.warning("mesh: %s is not used: %s", path, error)
                continue
            self._documents[document.kind, document.name] = document
            self._enforce(document)


def _key(document: Document) -> DocumentKey:
    return DocumentKey(document.kind, document.name, document.counter, document.hash)


def _chunk(documents: list[Document]) -> list[bytes]:
    envelopes = [document.envelope for document in documents]
    return envelopes[: fitting(map(len, envelopes), CHUNK)]


def _decoded(kind: type[wire.T], body: bytes) -> wire.T:
    try:
        return wire.decode(kind, body)
    except msgspec.MsgspecError as error:
        raise Refused(f"a message about documents is damaged: {error}", code="document") from None
