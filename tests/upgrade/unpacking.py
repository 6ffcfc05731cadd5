"""A state fixture (scripts/make_state_fixture.py) on this machine: other folder, other ports, another time."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from agent.identity import IdentityStore, Token, TokenRecord
from demo.environment import HOST, free_ports
from tests.story.building import Building, Node, pictures

DATA = Path(__file__).parent / "data"
FIXTURE = DATA / "2278c90.tar.xz"
"""Made by commit 2278c90: version 0.1.0, format 1 of the journal."""


class Fixture:
    """One half (`killed` or `stopped`) of the fixture in a building's folder, not yet started."""

    def __init__(self, half: str, building: Building) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            with tarfile.open(FIXTURE) as tar:
                tar.extractall(temporary, filter="tar")
            raw = Path(temporary)
            facts = json.loads((raw / "facts.json").read_text())
            self.facts: dict[str, Any] = facts[half]
            self.secrets: dict[str, Any] = facts["secrets"]
            self.box = building.add("box", labels={"wifi-log": "true", "camera": "true", "uplink": "true"})
            self.box.configure(policy={"process": True, "docker": False})
            self._move(raw / half, building)
        building.sink.port = self.sink_port

    def _move(self, raw: Path, building: Building) -> None:
        """Copy it to its new place. It copies while the database is open, so that a write-ahead log is kept."""
        shutil.copy(raw / "messages", self.box.messages)
        with contextlib.closing(sqlite3.connect(raw / "state/journal.db")) as db:
            # As if this machine had just been switched off, independent of the fixture's machine and time.
            db.execute("UPDATE meta SET value = ? WHERE key = 'wall'", (time.time(),))
            db.execute("UPDATE meta SET value = 'another boot' WHERE key = 'boot_id'")
            self._place_log(db)
            db.commit()
            shutil.copytree(raw / "state", self.box.state, ignore=shutil.ignore_patterns("*-shm"))
        shutil.copytree(raw / "sink", building.sink.data)
        (self.sink_port,) = free_ports(1)
        _replace(self.box.state / "uplink/sink.json", f":{self.secrets['ports']['sink']}#", f":{self.sink_port}#")
        photos = pictures(building.folder / "pictures", "porch", 20)
        _replace(self.box.state / "cameras.yaml", f"{self.secrets['folder']}/pictures", str(photos))
        tokens = self.box.state / "tokens.json"
        records = msgspec.json.decode(tokens.read_bytes(), type=list[TokenRecord])
        for record in records:
            record.expires = time.time() + 3600
        tokens.write_bytes(msgspec.json.encode(records))

    def _place_log(self, db: sqlite3.Connection) -> None:
        """Let the position in the log name the file by its present path and inode."""
        ((stream, value),) = db.execute("SELECT stream, value FROM position").fetchall()
        position = json.loads(value)
        facts = self.box.messages.stat()
        position["file"] |= {"device": facts.st_dev, "inode": facts.st_ino}
        stream = stream.replace(f"{self.secrets['folder']}/messages", str(self.box.messages))
        db.execute("UPDATE position SET stream = ?, value = ?", (stream, json.dumps(position)))

    def expire_certificate(self) -> None:
        """Replace the certificate with an expired certificate of the same mesh."""
        store = IdentityStore(self.box.state / "identity")
        me = store.load()
        assert me is not None
        store.renewed(me, me.issue(me.key.public_key(), role=me.role, name=me.name, life=-60.0))

    def token(self, node: Node) -> str:
        """The fixture's token with the node's present address."""
        token = Token.parse(self.secrets["token"])
        return msgspec.structs.replace(
            token, addresses=(f"{HOST}:{node.ports[1]}",), expires=int(time.time()) + 3600
        ).encode()


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
