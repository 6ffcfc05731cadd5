"""The applied pipelines: the newest of each name, and older versions for events in flight."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec

from agent.blobs import GivesWay
from agent.database import Storage
from agent.definitions.checking import decode_pipeline
from agent.model.keys import LONGEST
from agent.model.pipeline import Pipeline, Step
from agent.model.step_kind import Kinds

log = logging.getLogger(__name__)

KEEP_VERSIONS = 10


class Definitions:
    """The applied pipelines, kept in the journal's file: a restarted node knows them before it reaches the mesh."""

    def __init__(
        self,
        database: Storage,
        kinds: Kinds,
        in_use: Callable[[], set[tuple[str, str]]],
        changed: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`in_use` returns the (name, version) of every row that is not closed; `changed` gets the name of each changed pipeline."""
        self._database = database
        self.kinds = kinds
        self._in_use = in_use
        self.current: dict[str, Pipeline] = {}
        self._versions: dict[tuple[str, str], Pipeline] = {}
        self._at: dict[tuple[str, str], float] = {}
        self._signed: dict[tuple[str, str], tuple[int, str]] = {}
        self.old_modules = OldModules()
        self._needed: frozenset[str] = frozenset()
        """CIDs of the modules of current versions and of versions with open rows. Replaced whole, as threads of the blob store
        read it."""
        self._changed = changed

    def load(self) -> None:
        """Read the definitions in the journal; a definition that cannot be decoded is logged and skipped."""
        for name, version, body, at in self._database.query(
            "SELECT name, version, body, at FROM definition ORDER BY at"
        ):
            try:
                self._versions[name, version] = decode_pipeline(body, self.kinds)
                self._at[name, version] = at
            except msgspec.ValidationError as e:
                log.warning("version %s of %s is not readable by this version of the agent: %s", version, name, e)
        for key, version in self._database.query("SELECT key, value FROM meta WHERE key LIKE 'current:%'"):
            name = key.partition(":")[2]
            if found := self._versions.get((name, version)):
                self.current[name] = found
            elif version:
                log.warning("%s does not run: its version %s is not readable here; update this agent", name, version)
        for key, value in self._database.query("SELECT key, value FROM meta WHERE key LIKE 'signed:%'"):
            name, _, version = key.partition(":")[2].rpartition(":")
            counter, _, signer = value.partition(" ")
            self._signed[name, version] = (int(counter), signer)
        self._count_modules()

    def apply(self, name: str, body: bytes | None, signed: tuple[int, str] | None = None) -> None:
        """Take a document's body as the current definition, or remove that; raises msgspec.ValidationError if it cannot run.

        `signed` is the document's number and its signer's id, kept for `history`.
        """
        pipeline = decode_pipeline(body, self.kinds) if body is not None else None
        if pipeline is not None and pipeline.name != name:
            raise msgspec.ValidationError(f"the document {name} holds a pipeline named {pipeline.name}")
        old = self.current.get(name)
        if pipeline is not None and signed is not None:
            self._note((name, pipeline.version), signed)
        if pipeline == old:
            return
        if pipeline is None:
            self.current.pop(name, None)
            self._database.write(lambda db: _current(db, name, ""))
            self._count_modules()
        else:
            self.current[name] = pipeline
            self._store(pipeline)
        self._changed(name)

    def _note(self, key: tuple[str, str], signed: tuple[int, str]) -> None:
        """Keep the number and the signer of a version, where they are new."""
        if self._signed.get(key) != signed:
            self._signed[key] = signed
            row = ("signed:" + ":".join(key), f"{signed[0]} {signed[1]}")
            self._database.write(lambda db: db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", row))

    def _store(self, pipeline: Pipeline) -> None:
        key = (pipeline.name, pipeline.version)
        self._versions[key] = pipeline
        # A wall clock that jumped back must not make the newest version the oldest.
        newest = max((at for (name, _), at in self._at.items() if name == pipeline.name), default=0.0)
        at = self._at[key] = max(time.time(), newest + 1e-3)
        body = msgspec.json.encode(pipeline)

        def write(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO definition VALUES (?, ?, ?, ?)", (*key, body, at))
            _current(db, *key)

        self._database.write(write)
        self._forget(pipeline.name)
        self._count_modules()

    def _forget(self, name: str) -> None:
        used = set(self._in_use())
        if (now := self.current.get(name)) is not None:
            used.add((name, now.version))
        for key in self._by_age(name)[:-KEEP_VERSIONS]:
            if key not in used:
                del self._versions[key], self._at[key]
                self._signed.pop(key, None)
                self._database.write(partial(_drop, key=key))

    def get(self, name: str, version: str) -> Pipeline | None:
        """That version, if this node knows it."""
        return self._versions.get((name, version))

    def step(self, name: str, version: str, step: str) -> tuple[Pipeline, Step] | None:
        """A step of that version with its pipeline."""
        pipeline = self.get(name, version)
        found = pipeline.step(step) if pipeline else None
        return (pipeline, found) if pipeline and found else None

    def longest(self, scope: str, key: str) -> float | None:
        """The longest time in seconds that a record of this key may hold in a scope like `cooldown:PIPELINE/STEP`.

        None where no pipeline has such records.
        """
        kind, _, rest = scope.partition(":")
        name, _, step = rest.partition("/")
        found = (p.step(step) for (n, _), p in self._versions.items() if n == name)
        steps = [s for s in found if s is not None]
        if kind in self.kinds:
            return LONGEST if self.kinds[kind].remembers(key) and any(s.kind == kind for s in steps) else None
        if kind not in ("dedupe", "cooldown"):
            return None
        windows = [getattr(s, kind) for s in steps]
        return max((w.seconds for w in windows if w is not None), default=None)

    # -- which blobs the programs need (agent.blobs.Need) ------------------------------------------------------------

    gives_way: GivesWay = "never"

    def modules(self) -> set[str]:
        """The CIDs of all modules of the current pipelines."""
        return set(self._modules_of(self.current.values()))

    def needs(self, cid: str) -> bool:
        """Whether a current version has this module, or a version that had open rows when a pipeline last changed."""
        return cid in self._needed

    def may_read(self, node_id: str, cid: str) -> bool:
        """Every node may have the modules of the current pipelines: it fetches them from any node that has them."""
        return cid in self.modules()

    def _count_modules(self) -> None:
        used = self._in_use() | {(p.name, p.version) for p in self.current.values()}
        self._needed = self._modules_of(p for key, p in self._versions.items() if key in used)
        self.old_modules.cids = self._modules_of(self._versions.values())

    def _modules_of(self, pipelines: Iterable[Pipeline]) -> frozenset[str]:
        return frozenset(m for p in pipelines for s in p.steps for m in self.kinds.of(s).modules(s))

    def running(self) -> list[Pipeline]:
        """The current pipelines that are not paused."""
        return [p for p in self.current.values() if p.paused_until <= time.time()]

    def history(self, name: str) -> list[dict[str, Any]]:
        """Versions that this node has seen, newest first."""
        now = self.current.get(name)
        return [
            {
                "version": k[1],
                "at": self._at[k],
                "current": now is not None and now.version == k[1],
                "text": self._versions[k].text,
                "signed": self._signed.get(k, (0, "")),
            }
            for k in reversed(self._by_age(name))
        ]

    def _by_age(self, name: str) -> list[tuple[str, str]]:
        """The keys of all versions of a pipeline, oldest first."""
        return sorted((k for k in self._versions if k[0] == name), key=lambda k: self._at[k])


class OldModules:
    """The need of the modules of all versions that are kept for `pipeline rollback`: they make room for new blobs."""

    gives_way: GivesWay = "first"

    def __init__(self) -> None:
        self.cids: frozenset[str] = frozenset()

    def needs(self, cid: str) -> bool:
        """Whether a version that is kept here has this module. For any thread."""
        return cid in self.cids

    def may_read(self, node_id: str, cid: str) -> bool:
        """Other nodes read the modules of current pipelines only."""
        return False


def _current(db: sqlite3.Connection, name: str, version: str) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"current:{name}", version))


def _drop(db: sqlite3.Connection, key: tuple[str, str]) -> None:
    db.execute("DELETE FROM definition WHERE name = ? AND version = ?", key)
    db.execute("DELETE FROM meta WHERE key = ?", ("signed:" + ":".join(key),))
