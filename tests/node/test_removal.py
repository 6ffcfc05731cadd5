"""A node that is removed: it says so and ends, the others forget it, and it may join again."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.api.requests import CreateToken
from agent.errors import ConfigError, EdgeError, IdentityError, Refused
from agent.identity import IdentityStore, renew_at
from agent.node.configured import cameras_file
from agent.node.removal import Removed, ask_once, removal_of
from agent.node.start import begin
from tests.node.site import Site, cause
from tests.support import eventually


async def test_a_removed_node_ends_and_joins_again_with_its_cameras(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    old = porch.mesh.me.id
    cameras_file(porch.config).write_text("# no camera yet\n")
    removed = await hall.api.nodes.remove("porch")
    assert (removed.confirmed, removed.unconfirmed) == (["hall"], [])
    assert [n.name for n in hall.mesh.known()] == ["hall"]
    assert [n.name for n in hall.api.nodes.states()] == ["hall"]
    _, task = site.running.pop("porch")
    await eventually(task.done)
    ended = cause(task.exception() or AssertionError())
    assert isinstance(ended, IdentityError)
    assert (ended.code, "by hall on" in ended.message, "serve --join" in ended.hint) == ("identity.removed", True, True)

    said: list[str] = []
    config = site.config("porch")
    with pytest.raises(IdentityError, match="by hall on"):
        await begin(config, None, False, said.append)
    token = await hall.api.tokens.create(CreateToken())
    begun = await begin(config, token.token, False, said.append)
    assert begun.identity.node_id != old
    assert begun.identity.name == "porch"  # the name is free at once
    assert (config.state / "removed-1" / "identity" / "key.pem").exists()
    assert any("old identity" in line for line in said)
    assert cameras_file(config).read_text() == "# no camera yet\n"
    assert removal_of(config.state) is None


async def test_nobody_waits_for_an_absent_node_that_was_removed(site: Site) -> None:
    hall, _porch = await site.start("hall"), await site.start("porch")
    await site.start("attic")
    await site.stop("attic")
    await eventually(lambda: not hall.mesh.is_live(hall.mesh.node("attic").id))
    assert (await hall.api.nodes.remove("attic")).unconfirmed == []
    assert (await hall.api.nodes.remove("porch")).unconfirmed == []
    assert [n.name for n in hall.mesh.known()] == ["hall"]


async def test_a_member_cannot_make_a_node_leave(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    with pytest.raises(Refused):
        await porch.mesh.call(hall.mesh.me.id, "node.removed", b"")
    assert removal_of(hall.config.state) is None
    with pytest.raises(EdgeError):
        await porch.api.nodes.remove("hall")
    assert removal_of(hall.config.state) is None


async def test_a_damaged_note_of_the_removal_still_counts(tmp_path: Path) -> None:
    (tmp_path / "removed.json").write_bytes(b"{")
    assert removal_of(tmp_path) == Removed("an operator", "an unknown day")


async def test_an_address_alone_makes_no_mesh(site: Site) -> None:
    said: list[str] = []
    config = site.config("late", **{"mesh.join": ["192.0.2.1:7946"]})
    with pytest.raises(ConfigError) as refused:
        await begin(config, None, False, said.append)
    assert refused.value.code == "join.address"
    assert not (config.state / "identity" / "member.pem").exists()
    assert (await begin(config, None, True, said.append)).made


async def test_a_node_that_was_away_learns_of_its_removal(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    await site.stop("porch")
    await eventually(lambda: not hall.mesh.is_live(porch.mesh.me.id))
    await hall.api.nodes.remove("porch")
    state, store = porch.config.state, IdentityStore(porch.config.state / "identity")

    async def ask() -> None:
        await renew_at([f"127.0.0.1:{site.ports['hall'][1]}"], porch.admission.identity, store)

    await ask_once(state, "porch", porch.health, ask)
    assert [w.code for w in porch.health.list() if w.severity == "error"] == ["node.removed"]
    said: list[str] = []
    old = (await begin(porch.config, None, False, said.append)).identity.node_id  # no operator told it: it may be a lie
    token = await hall.api.tokens.create(CreateToken())
    assert (await begin(porch.config, token.token, False, said.append)).identity.node_id != old
