"""Labels: operators sign them, and other nodes ask for them; a node's own claim does not count."""

from __future__ import annotations

import msgspec
import pytest

from agent.api.requests import Approve, Label, NodesQuery
from agent.api.results import LabelledNode
from agent.errors import ConfigError, EdgeError, NotFound, Refused
from agent.node import close_node
from agent.node.signed_labels import MAX_LABELS
from agent.platforms import detect
from tests.node.site import Site
from tests.support import eventually


async def test_labels_of_an_operator_are_signed_and_of_members_wait(site: Site) -> None:
    hall = await site.start("hall", labels={"wifi-log": "true"})
    porch = await site.start("porch", labels={"camera": "true", "gpu": "true"})
    await eventually(lambda: hall.mesh.me.labels.get("wifi-log") == "true")
    await eventually(lambda: hall.labels.wishes)
    assert "camera" not in hall.mesh.node("porch").labels
    assert porch.labels.unsigned == {"camera": "true", "gpu": "true"}
    (pending,) = await hall.api.nodes.pending()
    assert (pending.kind, pending.node, pending.labels) == (
        "labels",
        "porch",
        {"camera": "true", "gpu": "true"},
    )
    done = await hall.api.nodes.approve(pending.code.upper(), Approve())
    assert done == LabelledNode(porch.mesh.me.id, "porch", {"camera": "true", "gpu": "true"})
    for agent in (hall, porch):
        await eventually(lambda a=agent: a.mesh.node("porch").labels.get("camera") == "true")
    assert await hall.api.nodes.pending() == []
    await eventually(lambda: not porch.labels.unsigned, 15)


async def test_an_operator_may_approve_other_labels_than_asked_for(site: Site) -> None:
    hall = await site.start("hall")
    porch = await site.start("porch", labels={"camera": "true", "gpu": "true"})
    await eventually(lambda: hall.labels.wishes)
    code = (await hall.api.nodes.pending())[0].code
    await hall.api.nodes.approve(code, Approve({"camera": "true"}))
    await eventually(lambda: porch.mesh.me.labels.get("camera") == "true")
    assert "gpu" not in porch.mesh.me.labels


async def test_labels_are_changed_one_by_one_and_only_by_an_operator(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    assert (await hall.api.nodes.label("porch", Label({"camera": "true", "role": "edge"}, []))).labels == {
        "camera": "true",
        "role": "edge",
    }
    assert (await hall.api.nodes.label("porch", Label({"role": "ap"}, ["camera", "absent"]))).labels == {"role": "ap"}
    await eventually(
        lambda: {k: porch.mesh.me.labels.get(k) for k in ("role", "camera")} == {"role": "ap", "camera": None}
    )
    with pytest.raises(EdgeError) as caught:
        await porch.api.nodes.label("porch", Label({"gpu": "true"}, []))
    assert "operator" in caught.value.message + caught.value.hint
    assert "gpu" not in hall.mesh.node("porch").labels
    with pytest.raises(NotFound):
        await hall.api.nodes.label("nobody", Label({"a": "b"}, []))


async def test_reserved_malformed_and_too_many_labels_are_refused(site: Site) -> None:
    hall = await site.start("hall")
    for bad in ({"id": "x"}, {"node": "x"}, {"arch": "x"}, {"sp ace": "x"}, {"a": "b c"}, {"": "x"},
                {f"k{i}": "v" for i in range(MAX_LABELS + 1)}):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            await hall.api.nodes.label("hall", Label(bad, []))
        assert caught.value.hint
    assert set(hall.mesh.me.labels) == {"id", "node", "arch"}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'{"a": 1}', b'{"id": "x"}', b'{"a b": "c"}',
        msgspec.json.encode({f"k{i}": "v" for i in range(MAX_LABELS + 1)})],
)  # fmt: skip
async def test_a_malformed_wish_for_labels_is_refused(site: Site, body: bytes) -> None:
    hall = site.node("hall")
    peer = site.node("porch")
    with pytest.raises(Refused) as caught:
        await hall.labels.serve_wish(hall.mesh.trust.peer(peer.admission.identity.cert_der), body)
    assert caught.value.code == "bad"
    assert not hall.labels.wishes
    for agent in (hall, peer):
        await close_node(agent)


async def test_selectors_see_the_reserved_labels_of_every_node(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    arch = detect().arch
    for agent in (hall, porch):
        for name in ("hall", "porch"):
            found = agent.mesh.node(name)
            assert found.labels == {"node": name, "id": found.id, "arch": arch}
    assert {n.name for n in await hall.api.nodes.matching(NodesQuery(f"arch={arch},node in (porch,garage)"))} == {
        "porch"
    }


@pytest.mark.parametrize("body", [b'{"labels": {"a": "\xff"}}', b'{"labels": ' + b"[" * 20_000])
async def test_unreadable_labels_count_as_none_and_end_no_node(
    site: Site, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    await hall.api.nodes.label("porch", Label({"role": "desk"}, []))
    await eventually(lambda: porch.mesh.me.labels.get("role"))
    await hall.mesh.documents.put("label", porch.mesh.me.id, body)
    await eventually(lambda: all(a.mesh.node("porch").labels.get("role") is None for a in (hall, porch)))
    assert "not readable" in caplog.text
    await hall.api.nodes.label("porch", Label({"role": "door"}, []))
    await eventually(lambda: porch.mesh.me.labels.get("role") == "door")


async def test_labels_survive_a_restart_of_all_nodes(site: Site) -> None:
    hall = await site.start("hall")
    await hall.api.nodes.label("hall", Label({"role": "desk"}, []))
    await site.stop("hall")
    again = await site.start("hall")
    assert again.mesh.me.labels["role"] == "desk"
