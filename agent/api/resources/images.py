"""Images that applied pipelines name, and the nodes that have them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

import msgspec

from agent.api import results
from agent.definitions import Definitions
from agent.errors import EdgeError
from agent.mesh import Mesh
from agent.model.decoding import DAMAGED
from agent.model.node import ROLE_OPERATOR, NodeRecord
from agent.model.pipeline import Pipeline, Step
from agent.model.placement import may_run
from agent.model.task import DockerTask

PATIENCE = 5.0
"""Seconds that a node has to say whether it has an image."""


class Images:
    """The images of the applied pipelines. `coming` gives the state in words of each image that is on its way here, by id."""

    def __init__(self, mesh: Mesh, definitions: Definitions, coming: Callable[[], Mapping[str, str]]) -> None:
        self._mesh, self._definitions, self._coming = mesh, definitions, coming

    async def all(self) -> list[results.UsedImage]:
        """Each image with the live nodes that may run it, and the operators, and whether they have it."""
        used: dict[str, list[tuple[Pipeline, Step, DockerTask]]] = {}
        for pipeline in self._definitions.current.values():
            for step in pipeline.steps:
                for struct, written in self._definitions.kinds.of(step).programs_of(step):
                    if struct is DockerTask:
                        task = msgspec.convert(written, DockerTask)
                        used.setdefault(task.image, []).append((pipeline, step, task))
        return list(await asyncio.gather(*(self._image(image, steps) for image, steps in used.items())))

    async def _image(self, image: str, steps: Iterable[tuple[Pipeline, Step, DockerTask]]) -> results.UsedImage:
        nodes = [
            n for n in self._mesh.live() if n.role == ROLE_OPERATOR or any(may_run(p, s, n.labels) for p, s, _ in steps)
        ]
        return results.UsedImage(
            name=next((t.name for _, _, t in steps if t.name), ""),
            id=image,
            steps=[f"{p.name}/{s.name}" for p, s, _ in steps],
            travels=any(t.vouched for _, _, t in steps),
            nodes=list(await asyncio.gather(*(self._on(node, image) for node in nodes))),
        )

    async def _on(self, node: NodeRecord, image: str) -> results.ImageOn:
        if node.id == self._mesh.me.id and (text := self._coming().get(image)):
            return results.ImageOn(node.name, "coming", text)
        try:
            answer = await self._mesh.call(node.id, "docker.image", msgspec.msgpack.encode(image), timeout=PATIENCE)
            here = msgspec.msgpack.decode(answer, type=str) == image
        except (EdgeError, *DAMAGED) as e:
            return results.ImageOn(node.name, "missing", str(e)[:200])
        return results.ImageOn(node.name, "here" if here else "missing")
