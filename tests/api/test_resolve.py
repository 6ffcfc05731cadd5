"""Names in a pipeline file become CIDs and image ids before it is signed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.api.resolve import MAX_MODULE, Resolver, module_paths
from agent.errors import NotFound, PipelineError
from agent.model.cid import parse_cid
from agent.node import Node, close_node
from agent.steps import KINDS
from tests.node.site import Site
from tests.support import eventually, load_pipeline

TEXT = """\
version: 1
name: p
steps:
  wifi: {tail: auto, where: wifi-log=true, wasm: {module: f/join.wasm}}
  small: {after: wifi, wasm: {module: f/rescale.wasm}}
  again: {after: wifi, wasm: {module: f/rescale.wasm, args: [-q]}}
  alert: {after: small, sink: }
"""
DOCKER = "  labels: {after: wifi, docker: {image: 'edge/detector:1'}, where: docker=true}\n"
EMPTY = b"\0asm\x01\0\0\0"
"""The smallest module: nothing in it, not even `_start`."""


@pytest.fixture
async def hall(site: Site) -> AsyncIterator[Node]:
    """An agent that is built and not run: resolving modules needs no mesh."""
    made = site.node("hall")
    yield made
    await close_node(made)


def test_modules_are_named_once_and_cids_are_not_paths() -> None:
    assert module_paths(load_pipeline(TEXT), KINDS) == ["f/join.wasm", "f/rescale.wasm"]
    cid = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
    assert module_paths(load_pipeline(TEXT.replace("f/join.wasm", cid)), KINDS) == ["f/rescale.wasm"]


async def test_modules_become_cids_whose_bytes_are_here(hall: Node, filters: Path) -> None:
    files = {
        "f/join.wasm": (filters / "wifi-join.wasm").read_bytes(),
        "f/rescale.wasm": (filters / "rescale.wasm").read_bytes(),
    }
    made, notes = await Resolver(hall.mesh, hall.stores.blobs, hall.programs.wasm, KINDS).resolve(
        load_pipeline(TEXT), files, keep=True
    )
    assert notes == []
    join, small, again = (
        made.steps[0].task["wasm"]["module"],
        made.steps[1].task["module"],
        made.steps[2].task["module"],
    )
    assert small == again != join
    assert await hall.stores.blobs.read(join) == files["f/join.wasm"]
    assert await hall.stores.blobs.read(small) == files["f/rescale.wasm"]
    parse_cid(join)
    assert made.steps[2].task["args"] == ["-q"]
    assert module_paths(made, KINDS) == []
    same, _ = await Resolver(hall.mesh, hall.stores.blobs, hall.programs.wasm, KINDS).resolve(
        load_pipeline(TEXT), files, keep=False
    )
    assert same.version == made.version
    again_made, _ = await Resolver(hall.mesh, hall.stores.blobs, hall.programs.wasm, KINDS).resolve(
        made, {}, keep=False
    )
    assert again_made == made


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "was not given"),
        (b"", "not a WebAssembly module"),
        (b"#!/bin/sh\n", "not a WebAssembly module"),
        (b"\0asm" + b"\0" * MAX_MODULE, "not a WebAssembly module"),
        (EMPTY[:6], "cannot run"),
        (EMPTY, "cannot run"),
        (EMPTY + b"\xff" * 20, "cannot run"),
    ],
    ids=["missing", "empty", "script", "too large", "cut", "without a start", "damaged"],
)
async def test_a_module_that_cannot_run_is_refused_before_signing(hall: Node, data: bytes | None, message: str) -> None:
    files = {} if data is None else {"f/join.wasm": data}
    with pytest.raises(PipelineError, match=message) as caught:
        await Resolver(hall.mesh, hall.stores.blobs, hall.programs.wasm, KINDS).resolve(
            load_pipeline(TEXT), files, keep=True
        )
    assert "f/join.wasm" in caught.value.message
    assert caught.value.hint
    assert caught.value.fields["key"] == "module"
    assert hall.mesh.documents.list("pipeline") == []


async def test_an_image_that_no_node_has_is_refused_with_what_to_do(site: Site, filters: Path) -> None:
    hall = await site.start("hall", labels={"docker": "true"})
    await eventually(lambda: hall.mesh.live()[0].labels.get("docker") == "true")
    module = (filters / "wifi-join.wasm").read_bytes()
    text = TEXT.replace("  alert", DOCKER + "  alert")
    with pytest.raises(NotFound, match="labels: no live node has the image edge/detector:1") as caught:
        await Resolver(hall.mesh, hall.stores.blobs, hall.programs.wasm, KINDS).resolve(
            load_pipeline(text), {"f/join.wasm": module, "f/rescale.wasm": module}, keep=False
        )
    assert "hall answers: no Docker engine answers" in caught.value.message
    assert "docker load" in caught.value.hint


async def test_a_selector_that_nothing_matches_is_named_not_the_image(hall: Node, filters: Path) -> None:
    module = (filters / "wifi-join.wasm").read_bytes()
    text = TEXT.replace("  alert", DOCKER.replace("docker=true", "gpu=h100") + "  alert")
    assert "gpu=h100" in text
    with pytest.raises(NotFound, match="no live node matches `where: gpu=h100`") as caught:
        await Resolver(hall.mesh, hall.stores.blobs, hall.programs.wasm, KINDS).resolve(
            load_pipeline(text), {"f/join.wasm": module, "f/rescale.wasm": module}, keep=False
        )
    assert "edge-agent nodes" in caught.value.hint


async def test_an_image_id_is_taken_as_it_is(hall: Node, filters: Path) -> None:
    module = (filters / "wifi-join.wasm").read_bytes()
    ident = "sha256:" + "0" * 64
    text = TEXT.replace("  alert", DOCKER.replace("edge/detector:1", ident) + "  alert")
    made, notes = await Resolver(hall.mesh, hall.stores.blobs, hall.programs.wasm, KINDS).resolve(
        load_pipeline(text), {"f/join.wasm": module, "f/rescale.wasm": module}, keep=False
    )
    step = made.step("labels")
    assert step is not None
    assert (step.task["image"], notes) == (ident, [])
