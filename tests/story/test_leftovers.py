"""An agent that is killed while photos are being made leaves none behind that nothing names."""

from __future__ import annotations

import shutil

import pytest

from tests.executors.docker_image import busybox_image
from tests.story.building import FILTERS, Building, arrive, building, pictures
from tests.story.pipelines import story

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.timeout(240)]

ROUNDS, DEVICES = 6, 12


def test_photos_being_made_at_a_kill_do_not_stay() -> None:
    busybox_image()
    with building() as b:
        b.add("box", docker=True)
        b.add("ap", labels={"wifi-log": "true"})
        b.add("garage", labels={"camera": "true"}, cameras=("empty",))
        b.start()
        b.apply(story(str(FILTERS), shots=3).replace("every: 1s", "every: 0.1s"), b["box"])
        for n in range(ROUNDS):
            arrive(b["ap"], range(n * DEVICES, (n + 1) * DEVICES))
            b.until("it takes photos", lambda n=n: len(b["garage"].rows("step = 'small'")) > n * DEVICES * 3 + n % 4)
            b["garage"].kill()
            # Other pictures from now on, so that what was taken before is not taken again.
            folder = b.folder / "pictures/empty"
            shutil.rmtree(folder)
            pictures(folder, f"empty {n}", 100)
            b["garage"].start()
            b["garage"].wait()
            b.until("all that came has ended", b.quiet, 60)
        b.until(f"no photo is left: {left(b)}", lambda: not left(b), 30)


def left(b: Building) -> dict[str, int]:
    """How many blobs besides modules each node has."""
    found = {n.name: sum(not c.startswith(b"\0asm") for c in n.blobs().values()) for n in b.nodes.values()}
    return {name: count for name, count in found.items() if count}
