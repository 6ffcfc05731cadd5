"""The measurements of an agent on a machine (hil/measure.py), on a box whose busybox stands for the agent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hil import measure
from hil.standins import Box, Failed

pytestmark = pytest.mark.root

TREE = "/opt/edge-agent/versions/1.0/_internal"


@pytest.fixture
def agent(box: Box) -> Iterator[Box]:
    """A box on which two processes run from the agent's tree."""
    box.run(f"mkdir -p {TREE} && cp /bin/busybox {TREE}/busybox").text()
    for _ in range(2):
        box.run(f"{TREE}/busybox sleep 1000 </dev/null >/dev/null 2>&1 &").text()
    yield box
    measure.end_agent(box)
    box.run("rm -rf /opt/edge-agent").text()


def test_memory_counts_the_processes_of_the_tree_only(agent: Box) -> None:
    found = measure.memory(agent)
    assert found.processes == 2
    assert 0 < found.pss <= found.rss < 10
    assert measure.lowest_memory(agent, 2, 0.0).processes == 2


def test_ended_agent_is_no_agent(agent: Box) -> None:
    measure.end_agent(agent)
    with pytest.raises(Failed, match="no agent runs"):
        measure.memory(agent)


def test_processor_time_is_that_of_the_tree(agent: Box) -> None:
    before = measure.used(agent)
    agent.run(f"{TREE}/busybox sh -c 'while :; do :; done' </dev/null >/dev/null 2>&1 &").text()
    busy = measure.used(agent)
    while busy.seconds - before.seconds < 0.2:
        busy = measure.used(agent)
    assert 0 < busy.percent(before) <= 110.0


def test_disk_of_folders_that_exist_is_summed(agent: Box) -> None:
    assert 1 < measure.disk_used(agent, "/opt/edge-agent", "/none") < 5
    assert measure.disk_used(agent, "/none") == 0


def test_new_changed_and_removed_files_are_seen(box: Box) -> None:
    before = measure.files(box)
    box.run("touch '/etc/a file' && chmod 700 /etc/hosts && touch /tmp/unseen").text()
    after = measure.files(box)
    box.run("rm '/etc/a file' && chmod 644 /etc/hosts").text()
    assert {line.rsplit(" ", 3)[0] for line in after - before} == {"/etc/a file", "/etc/hosts"}
    assert measure.files(box) == before


def test_fixed_loop_takes_time_here_and_there(box: Box) -> None:
    assert measure.loop_seconds(box) > 0
    assert measure.loop_seconds_here() > 0


def test_failed_command_has_no_time(box: Box) -> None:
    assert measure.command_seconds(box, "sleep 0.1") > 0
    with pytest.raises(Failed):
        measure.command_seconds(box, "false")
