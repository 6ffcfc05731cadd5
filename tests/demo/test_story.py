"""The whole story with the real parts: four agents, a sink, and the detector in Docker or as a process."""

from __future__ import annotations

import signal
from collections.abc import Callable

import docker
import pytest

from agent.executors import OWNER_LABEL
from demo.story import HOPS
from tests.demo.running import NO_DOCKER, Demo
from tests.support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

MakeDemo = Callable[..., Demo]


@pytest.mark.docker
async def test_a_strangers_phone_becomes_an_alert_with_docker(make_demo: MakeDemo) -> None:
    demo = make_demo()
    code = await demo.run("--once", "--json", "--require-docker")
    assert code == 0, demo.err.read_text()
    made = demo.summary()
    assert made["ok"]
    assert made["docker"]
    _is_the_story(made)
    await eventually(lambda: not demo.left())
    client = docker.from_env()
    try:
        for node in made["nodes"].values():
            assert client.containers.list(all=True, sparse=True, filters={"label": f"{OWNER_LABEL}={node}"}) == []
    finally:
        client.close()


async def test_without_docker_the_detector_runs_as_a_process(make_demo: MakeDemo) -> None:
    demo = make_demo(**NO_DOCKER)
    code = await demo.run("--once", "--json")
    assert code == 0, demo.err.read_text()
    made = demo.summary()
    assert not made["docker"]
    assert "the detector runs as a local process" in demo.err.read_text()
    _is_the_story(made)
    await eventually(lambda: not demo.left())


def _is_the_story(made: dict) -> None:  # type: ignore[type-arg]
    assert len(made["alerts"]) >= 1
    for hops in made["hops"]:
        assert [h["step"] for h in hops] == list(HOPS)
        where = {h["step"]: h["node"] for h in hops}
        assert where["line"] == where["wifi"] == "ap"
        assert where["photos"] in ("porch", "garage")
        assert where["labels"] == where["alert"] == "gpu"
        times = [h["at_ms"] for h in hops]
        assert times == sorted(times)
    assert {s["camera"] for s in made["rescale"]} == {"porch/front", "garage/front"}
    assert all(0 < s["after"] < s["before"] / 2 for s in made["rescale"])
    assert 0 < made["egress"]["up"] < made["egress"]["streaming"] / 10
    # Four photos: one shows a person, and only that one led to an alert.
    assert made["events"]["alert"]["delivered"] == len(made["alerts"])
    assert made["events"]["alert"]["skipped"] == 4 - len(made["alerts"])


async def test_required_but_missing_docker_is_a_clear_failure(make_demo: MakeDemo) -> None:
    demo = make_demo(**NO_DOCKER)
    assert await demo.run("--once", "--require-docker") != 0
    assert "[demo.docker]" in demo.err.read_text()
    assert demo.out.read_text() == ""
    assert demo.left() == []


async def test_phones_join_by_key_or_shell_and_ctrl_c_ends_all(
    make_demo: MakeDemo,
) -> None:
    demo = make_demo(**NO_DOCKER)
    await demo.start_in_terminal()
    await demo.ready("another link to the page")
    assert "/login/" in demo.shown()
    await demo.type("\n")
    await eventually(lambda: "left the building" in demo.shown(), 60)
    shown = demo.shown()
    assert "somebody's phone" in shown
    assert all(step in shown for step in HOPS)

    known = await demo.poke("--device", "ada")
    assert (known["arrived"], known["known"], known["alerts"]) == (True, True, [])
    again = await demo.poke("--device", "ada")
    assert (again["arrived"], again["alerts"]) == (False, [])
    new = await demo.poke("--device", "Grace")
    assert (new["known"], new["alerts"]) == (True, [])
    stranger = await demo.poke()
    assert stranger["arrived"]
    assert stranger["root"] != known["root"]

    await demo.type("\x03")
    assert await demo.wait() == 130
    await eventually(lambda: not demo.left())
    code, _, err = await demo.shell("demo", "poke")
    assert code == 6
    assert "[demo.not-running]" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_demo_stopped_at_its_start_leaves_nothing_running(make_demo: MakeDemo, number: signal.Signals) -> None:
    demo = make_demo(**NO_DOCKER)
    await demo.start()
    await eventually(lambda: "porch joins" in demo.err.read_text(), 60)
    await demo.end(number)
    await eventually(lambda: not demo.left(), 20)
