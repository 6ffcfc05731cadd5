"""A node that has just started and has not heard of a sender yet refuses for now, not for good."""

from __future__ import annotations

from pathlib import Path

from tests.delivery.story import Building
from tests.delivery.test_review import deliver, delivery, rescaled


async def test_a_delivery_of_an_unknown_node_is_refused_for_now(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("ap", "porch", "gpu", "up")
    try:
        b.net.cut.add(frozenset(("gpu", "porch")))
        (verdict,) = await deliver(b, "gpu", [delivery(b, rescaled(b))])
        assert verdict.status == "unknown"
        b.net.cut.clear()
        (verdict,) = await deliver(b, "gpu", [delivery(b, rescaled(b))])
        assert verdict.status == "accepted"
    finally:
        await b.stop()
