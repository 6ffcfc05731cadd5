from __future__ import annotations

from tests.cli.conftest import Shell


async def test_selftest_passes_without_an_agent(alone: Shell) -> None:
    done = await alone("selftest", "--json", EDGE_AGENT_MESH_MDNS="false")
    found = {c["check"]: c["state"] for c in done.json["checks"]}
    assert (done.code, done.json["ok"]) == (0, True), done.out
    assert {
        "modules",
        "identity",
        "disk",
        "workers",
        "wasm",
        "mesh",
        "mdns",
        "clock",
        "docker",
        "cameras",
    } <= found.keys()


async def test_selftest_ends_with_1_and_a_remedy(alone: Shell) -> None:
    identity = alone.folder / "identity"
    identity.mkdir()
    (identity / "node.pem").write_text("damaged")
    (identity / "member.pem").write_text("damaged")
    done = await alone("selftest", EDGE_AGENT_MESH_MDNS="false")
    assert done.code == 1
    assert "1 failed" in done.out
    assert "→" in done.out
