"""One node as a separate process; it reads commands on stdin, answering with a line of JSON each.

usage: child.py FOLDER NAME PORT JOIN...     (the identities lie in FOLDER already)
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

from agent.errors import EdgeError
from agent.identity import IdentityStore, Trust
from agent.mesh import Mesh, MeshSettings
from tests.mesh.building import FAST


async def answer(mesh: Mesh, verb: str, arguments: list[str]) -> Any:
    match verb:
        case "live":
            return sorted(r.name for r in mesh.live())
        case "links":
            return sorted({link.node for link in mesh.links()})
        case "call":
            record = mesh.node(arguments[0])
            return (await mesh.call(record.id, "echo", b"hello", timeout=3)).decode()
        case "add":
            mesh.add_endpoint(arguments[0])
            return True
        case "put":
            return (await mesh.documents.put(arguments[0], arguments[1], arguments[2].encode())).counter
        case "get":
            document = mesh.documents.get(arguments[0], arguments[1])
            return document.body.decode() if document is not None else None
        case "endpoints":
            return mesh.me.endpoints
    raise ValueError(verb)


async def main() -> None:
    folder, name, port, *join = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {name} %(message)s")
    identity = IdentityStore(Path(folder) / "ids" / name).load()
    assert identity is not None
    settings = MeshSettings(port=int(port), join=join, **FAST)
    mesh = Mesh(identity, Trust(identity.ca_der), settings, Path(folder) / "state" / name)

    async def echo(peer: Any, body: bytes) -> bytes:
        return peer.name.encode() + b":" + body

    mesh.serve("echo", echo)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(mesh.run())
        await mesh.ready.wait()
        print(json.dumps("ready"), flush=True)
        while line := await reader.readline():
            verb, *arguments = line.decode().split()
            try:
                result = await answer(mesh, verb, arguments)
            except EdgeError as error:
                result = error.to_dict()
            print(json.dumps(result, default=str), flush=True)
        running.cancel()


if __name__ == "__main__":
    asyncio.run(main())
