"""A node that is destroyed for good in mid-stream, disk included: the others deliver everything, once."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.executors.docker_image import busybox_image
from tests.story.building import FILTERS, arrive, building
from tests.story.pipelines import story

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.timeout(300)]

ARRIVALS, BURST = 300, 50


def test_others_deliver_all_when_a_node_and_its_disk_are_gone() -> None:
    busybox_image()
    with building() as b:
        b.add("box", docker=True)
        b.add("ap", labels={"wifi-log": "true"})
        b.add("porch", labels={"camera": "true"}, cameras=("porch",))
        b.add("garage", labels={"uplink": "true"})
        b.add("shed", labels={"uplink": "true"}, docker=True)
        b.start()
        b.connect_sink("garage", "shed")
        b.apply(story(str(FILTERS)), b["box"])

        for first in range(0, ARRIVALS, BURST):
            arrive(b["ap"], range(first, first + BURST))
            if first == ARRIVALS // 2:
                b.until("it has some of all kinds of work", lambda: busy(b["shed"].rows("state != 5")), 60)
                b["shed"].destroy()
        b.until("all lines are read", lambda: b["ap"].devices_read() == ARRIVALS)
        b.until("every alert is in the sink", lambda: len(b.alerts()) >= ARRIVALS, 180)
        b.until("nothing is open", lambda: all(b.open_on(n) == 0 for n in b.running), 60)

        b.check_sums()
        for step, ends in b.ends().items():
            assert not ends.keys() & {"failed", "expired", "lost", "skipped"}, (step, ends)
        roots = Counter(root for _, root, _ in b.alerts())
        assert len(roots) == ARRIVALS
        assert set(roots.values()) == {1}


def busy(rows: list[dict[str, object]]) -> bool:
    """It has accepted events that are neither run nor handed on yet."""
    return len(rows) >= 5
