"""Modules become CIDs and images become image ids when a pipeline is applied: no mutable path or tag decides what runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

import msgspec

from agent.blobs import BlobStore
from agent.errors import EdgeError, NotFound, PipelineError, Refused
from agent.executors import WasmExecutor
from agent.mesh import Mesh
from agent.model.cid import is_cid
from agent.model.decoding import DAMAGED
from agent.model.node import ROLE_OPERATOR, NodeRecord
from agent.model.pipeline import Pipeline, Step
from agent.model.placement import may_run
from agent.model.step_kind import Kinds
from agent.model.task import IMAGE_ID, WasmTask

MAX_MODULE = 32 * 1024 * 1024
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}\Z")
"""The characters of an image's name (registry, path, tag and digest)."""


def module_paths(pipeline: Pipeline, kinds: Kinds) -> list[str]:
    """The paths of modules as written; CIDs are left out."""
    return sorted({m for s in pipeline.steps for m in kinds.of(s).modules(s) if not is_cid(m)})


class Resolver:
    """Resolves pipelines on this node, asking others about images."""

    def __init__(self, mesh: Mesh, blobs: BlobStore, wasm: WasmExecutor, kinds: Kinds) -> None:
        self.mesh, self.blobs, self.wasm = mesh, blobs, wasm
        self.kinds = kinds

    async def resolve(
        self, pipeline: Pipeline, files: Mapping[str, bytes], *, keep: bool
    ) -> tuple[Pipeline, list[str]]:
        """The pipeline with CIDs and image ids, and notes for its author; raises PipelineError, NotFound.

        With `keep` the modules of `files` are checked to run on this node.
        """
        names = _Names(self, pipeline, files, keep)
        tasks = [await self.kinds.of(step).resolve(step, names) for step in pipeline.steps]
        steps = [msgspec.structs.replace(s, task=task) for s, task in zip(pipeline.steps, tasks, strict=True)]
        return msgspec.structs.replace(pipeline, steps=steps), names.notes


class _Names:
    """Names for one pipeline that is being resolved (`agent.model.step_kind.Names`)."""

    def __init__(self, resolver: Resolver, pipeline: Pipeline, files: Mapping[str, bytes], keep: bool) -> None:
        self._by, self._pipeline, self._files, self._keep = resolver, pipeline, files, keep
        self._cids: dict[str, str] = {}
        self.notes: list[str] = []

    async def module(self, path: str) -> str:
        """See Names."""
        if not is_cid(path) and path not in self._cids:
            self._cids[path] = await self._module(path)
        return self._cids.get(path, path)

    async def _module(self, path: str) -> str:
        data = self._files.get(path)
        if data is None:
            raise PipelineError(
                f"the module {path} was not given", hint="is it beside the pipeline file?", key="module"
            )
        if len(data) > MAX_MODULE or not data.startswith(b"\0asm"):
            raise PipelineError(
                f"{path} is not a WebAssembly module",
                hint="build it for wasm32-wasi (docs/write-your-own-filter.md)",
                key="module",
            )
        cid, _ = await self._by.blobs.put(data)
        self._by.blobs.pin(cid, f"module:{cid}")
        if self._keep:
            try:
                await self._by.wasm.work(self._by.blobs.path(cid), WasmTask(module=cid)).ready()
            except EdgeError as e:
                raise PipelineError(f"{path} cannot run: {e.message}", hint=e.hint, key="module") from None
        return cid

    async def image(self, step: Step, name: str) -> tuple[str, bool]:
        """See Names.

        An operator's image counts before all others: nodes take images from each other, and no other node may decide what they run.
        """
        live = self._by.mesh.live()
        nodes = [node for node in live if may_run(self._pipeline, step, node.labels)]
        found, lacking = await self._ask(nodes, name)
        others, absent = await self._ask([n for n in live if n.role == ROLE_OPERATOR and n not in nodes], name)
        vouched = _by_id([(i, n) for i, n in [*found, *others] if n.role == ROLE_OPERATOR])
        every = vouched or _by_id(found)
        if not every and not nodes:
            raise NotFound(
                f"step {step.name}: no live node matches `where: {step.where}`, and no operator has the image {name}",
                hint="edge-agent nodes shows the labels; edge-agent node label sets one. Or load the image on an operator",
            )
        if not every:
            raise NotFound(
                f"step {step.name}: no live node has the image {name}: {'; '.join([*lacking, *absent])}",
                hint="load the image there (docker load, docker build), or start the engine, and apply again",
            )
        best = max(every, key=lambda i: len(every[i]))
        source = f"nodes that lack it take it from {', '.join(every[best])}" if vouched else "load it there by hand"
        self.notes += [f"step {step.name}: {said}; {source}" for said in lacking]
        for other, holders in _by_id(found).items():
            if other != best:
                what = "will take the other" if vouched else "will not run it"
                self.notes.append(
                    f"step {step.name}: {', '.join(holders)} has another {name} ({other[:19]}) and {what}"
                )
        return best, bool(vouched)

    async def _ask(self, nodes: list[NodeRecord], name: str) -> tuple[list[tuple[str, NodeRecord]], list[str]]:
        """The id of the image on each node that has it, and the answers of the others in words."""
        found: list[tuple[str, NodeRecord]] = []
        lacking: list[str] = []
        for node in nodes:
            try:
                answer = await self._by.mesh.call(node.id, "docker.image", msgspec.msgpack.encode(name), timeout=10.0)
                found.append((_image_id(answer), node))
            except (EdgeError, *DAMAGED) as e:
                lacking.append(f"{node.name} answers: {e}")
        return found, lacking


def _by_id(found: list[tuple[str, NodeRecord]]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for image, node in found:
        names.setdefault(image, []).append(node.name)
    return names


def _image_id(answer: bytes) -> str:
    """The image id in a node's answer; raises Refused for anything else, since it is signed afterwards."""
    found = msgspec.msgpack.decode(answer, type=str)
    if not IMAGE_ID.match(found):
        raise Refused(f"{found[:80]!r} is not an image id", code="bad")
    return found


class Images(Protocol):
    """The engine that knows the images of this node."""

    async def image_id(self, name: str) -> str: ...


async def serve_image(images: Images, body: bytes) -> bytes:
    """Answer `docker.image`: the id of an image of this node; raises Refused if the text is not the name of an image."""
    try:
        name = msgspec.msgpack.decode(body, type=str)
    except DAMAGED as e:
        raise Refused(f"not the name of an image: {e}", code="bad") from None
    # The engine's API has the name in its path: `..` would lead to its other objects.
    if not IMAGE.match(name) or ".." in name:
        raise Refused(f"{name[:80]!r} is not the name of an image", code="bad")
    return msgspec.msgpack.encode(await images.image_id(name))
