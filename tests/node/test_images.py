"""An image travels from one real engine to another, because a signed pipeline names it, and for no other reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import msgspec
import pytest

from agent.api.requests import Label, Source
from agent.errors import BlobError, EdgeError, NotFound, Refused
from agent.executors import Images
from agent.model.cid import EMPTY
from agent.model.pipeline import Pipeline, Step
from agent.node import Node
from agent.node.image_fetches import ON_ITS_WAY
from agent.node.image_offers import OFFER, Offer
from tests.executors.docker_image import IMAGE, busybox_image
from tests.node.engine import second_engine
from tests.node.site import Site
from tests.support import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.timeout(180)]

TEXT = f"""
version: 1
name: travel
steps:
  clock: {{tail: /none, where: "node=none", wasm: {{module: {EMPTY}}}, emit: [x]}}
  work:
    after: clock
    docker: {{image: "{IMAGE}", args: [sh, -c, "{{}}"]}}
    where: gpu=true
"""
ANSWER = (
    r"while read -r line; do id=${line#*\"id\":\"}; id=${id%%\"*}; "
    r'echo "{\"id\":\"$id\",\"events\":[{\"type\":\"x\",\"data\":{}}]}"; done'
)


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    if os.geteuid() != 0:
        pytest.skip("an engine needs root")
    busybox_image()
    with second_engine() as address:
        yield address


@pytest.fixture
def empty(engine: str) -> Iterator[Any]:
    """The second engine's client; no image is there before and after."""
    client = docker.DockerClient(base_url=engine, timeout=60)
    yield client
    for image in client.images.list(all=True):
        client.images.remove(image.id, force=True)
    client.close()


def image_id() -> str:
    client = docker.from_env()
    try:
        return str(client.images.get(IMAGE).id)
    finally:
        client.close()


def pipeline(image: str, *, vouched: bool = True, name: str = IMAGE) -> bytes:
    task = {"image": image, "name": name, "args": ["sh", "-c", ANSWER], "limits": {"memory": 64 << 20}}
    steps = [
        Step(name="clock", kind="tail", task={"source": "/none", "wasm": {"module": EMPTY}}, where="node=none"),
        Step(
            name="work",
            kind="docker",
            task=task | ({"vouched": True} if vouched else {}),
            after=["clock"],
            where="gpu=true",
        ),
    ]
    return msgspec.json.encode(Pipeline(name="travel", steps=steps))


async def pair(site: Site, engine: str, **overrides: Any) -> tuple[Node, Node]:
    """`hall`, an operator with the machine's engine, and `box`, a GPU box whose engine has no image."""
    hall = await site.start("hall", **{"docker.host": "unix:///var/run/docker.sock"})
    box = await site.start("box", **{"docker.host": engine, **overrides})
    await hall.api.nodes.label("box", Label({"gpu": "true", "docker": "true"}))
    await eventually(lambda: box.mesh.me.labels.get("gpu") == "true")
    return hall, box


def work_state(node: Node) -> Any:
    """The step on this node; idle before the pipeline is there."""
    return node.delivery.engine.hosts.now("travel", "work")


async def test_a_new_gpu_box_gets_the_image_and_its_step_runs(empty: Any, site: Site, engine: str) -> None:
    hall, box = await pair(site, engine)
    image = image_id()
    await hall.mesh.documents.put("pipeline", "travel", pipeline(image))
    await eventually(lambda: any(i.id == image for i in empty.images.list()), 60)
    await eventually(lambda: work_state(box).state == "ready", 60)
    assert empty.images.get(IMAGE).id == image  # it has its name, too
    await eventually(lambda: not box.stores.blobs.contents())  # the engine has it: no second copy stays
    assert box.delivery.fetches.texts() == {}
    (kept,) = hall.stores.blobs.contents()
    assert hall.stores.blobs.needs.needed(kept)
    hall.delivery.offers.forget(float("inf"))
    await eventually(lambda: not hall.stores.blobs.contents())


async def test_an_image_that_comes_back_has_the_same_archive(empty: Any, site: Site, engine: str) -> None:
    """Two holders then share one blob: the archive depends on the image alone."""
    hall, box = await pair(site, engine)
    image = image_id()
    await hall.mesh.documents.put("pipeline", "travel", pipeline(image))
    await eventually(lambda: work_state(box).state == "ready", 60)
    cids = [
        (await node.stores.blobs.put_stream(node.programs.docker.images.save(image), room=1 << 20))[0]
        for node in (hall, box)
    ]
    assert cids[0] == cids[1]


async def test_apply_says_who_takes_the_image_from_whom(empty: Any, site: Site, engine: str) -> None:
    hall, _ = await pair(site, engine)
    applied = await hall.api.pipelines.apply(Source(text=TEXT, file="travel.yaml", dry_run=True))
    (note,) = [w for w in applied.warnings if "step work:" in w]
    assert note.startswith("step work: box answers: ")
    assert note.endswith("nodes that lack it take it from hall")
    assert empty.images.list() == []


async def test_an_image_without_an_operators_word_stays_where_it_is(empty: Any, site: Site, engine: str) -> None:
    hall, box = await pair(site, engine)
    await hall.mesh.documents.put("pipeline", "travel", pipeline(image_id(), vouched=False))
    await eventually(lambda: work_state(box).state == "not-started", 60)
    assert "no operator had it when the pipeline was applied" in work_state(box).error
    assert empty.images.list() == []
    assert hall.stores.blobs.contents() == {}


async def offer_of(node: Node, holder: Node, image: object) -> Offer:
    answer = await node.mesh.call(holder.mesh.me.id, OFFER, msgspec.msgpack.encode(image), timeout=10.0)
    return msgspec.msgpack.decode(answer, type=Offer)


async def test_an_image_is_given_to_nodes_that_run_its_signed_step(empty: Any, site: Site, engine: str) -> None:
    hall, box = await pair(site, engine)
    porch = await site.start("porch")
    image = image_id()
    with pytest.raises(NotFound, match="no pipeline lets box run"):
        await offer_of(box, hall, image)
    await hall.mesh.documents.put("pipeline", "travel", pipeline(image))
    with pytest.raises(NotFound, match="no pipeline lets porch run"):
        await offer_of(porch, hall, image)
    for junk in ("edge/detector:1", "../x", 7, "sha256:" + "0" * 63):
        with pytest.raises(EdgeError):
            await offer_of(box, hall, junk)
    await eventually(lambda: work_state(box).state == "ready", 60)
    (cid,) = hall.stores.blobs.contents()
    assert hall.stores.blobs.needs.may_read(box.mesh.me.id, cid)
    assert not hall.stores.blobs.needs.may_read(porch.mesh.me.id, cid)


@pytest.mark.parametrize(
    ("overrides", "code", "words"),
    [
        ({"docker.largest_image": "1MB"}, "image.size", "this node takes 1 (docker.largest_image)"),
        ({"blobs.quota": "1MB"}, "image.size", "this node takes 1 (blobs.quota)"),
        ({"docker.largest_image": 0}, "not-found", "is not on this node"),
    ],
)
async def test_the_owner_limits_the_images_that_come(
    empty: Any, site: Site, engine: str, overrides: dict[str, Any], code: str, words: str
) -> None:
    hall, box = await pair(site, engine, **overrides)
    image = image_id()
    await hall.mesh.documents.put("pipeline", "travel", pipeline(image))
    await eventually(lambda: words in work_state(box).error, 60)
    assert box.delivery.engine.hosts.now("travel", "work").code == code
    assert empty.images.list() == []


async def test_an_image_of_another_architecture_is_refused(
    empty: Any, site: Site, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, box = await pair(site, engine)
    monkeypatch.setitem(box.mesh.me.labels, "arch", "aarch64")
    with pytest.raises(Refused, match="is for x86_64, this node is aarch64"):
        box.delivery.fetches._check(task_of(pipeline(image_id())), Offer(1, "x86_64"))


def task_of(body: bytes) -> Any:
    from agent.model.task import DockerTask

    return msgspec.json.decode(body, type=Pipeline).steps[1].task_as(DockerTask)


async def test_an_engine_takes_no_image_with_a_changed_layer(empty: Any, engine: str, tmp_path: Path) -> None:
    ours, theirs, image = Images("unix:///var/run/docker.sock"), Images(engine), image_id()
    archive = bytearray(b"".join(ours.save(image)))
    at = archive.rfind(b"BusyBox v")
    archive[at] ^= 1
    file = tmp_path / "archive"
    file.write_bytes(archive)
    try:
        with pytest.raises(BlobError) as caught:
            await theirs.load(file, image, IMAGE)
    finally:
        ours.close()
        theirs.close()
    assert (caught.value.code, at > 0) == ("image.wrong", True)
    assert empty.images.list(all=True) == []


@pytest.mark.slow
async def test_an_image_on_its_way_is_told_by_status_not_as_a_fault(empty: Any, site: Site, engine: str) -> None:
    hall, box = await pair(site, engine)
    image = image_id()
    real = hall.delivery.offers.serve

    async def slow(peer: Any, body: bytes) -> bytes:
        """A holder that has saved the half."""
        await real(peer, body)
        return msgspec.msgpack.encode(Offer(4_000_000, "x86_64", done=2_000_000))

    hall.mesh.serve(OFFER, slow)
    await hall.mesh.documents.put("pipeline", "travel", pipeline(image))
    await eventually(lambda: "hall saves it, 2 of 4 MB" in work_state(box).error, 60)
    (used,) = await box.api.images.all()
    assert (used.name, used.id, used.steps, used.travels) == (IMAGE, image, ["travel/work"], True)
    assert {n.node: n.state for n in used.nodes} == {"box": "coming", "hall": "here"}
    assert box.delivery.engine.hosts.now("travel", "work").code == ON_ITS_WAY
    await eventually(lambda: any(w.code == "image.coming" for w in box.health.list()), 30)
    assert not [w for w in box.health.list() if w.code == "step.not-started"]
    hall.mesh.serve(OFFER, real)
    await eventually(lambda: work_state(box).state == "ready", 60)
    await eventually(lambda: not [w for w in box.health.list() if w.code == "image.coming"], 30)
    assert {n.node: n.state for n in (await hall.api.images.all())[0].nodes} == {"box": "here", "hall": "here"}
