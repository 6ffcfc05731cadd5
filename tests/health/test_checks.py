"""Each check finds its fault, and a healthy node has none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.health import Facts, FailingStep, Gone, LearningFact, SourceFact, clock_synchronised, run_checks
from agent.health.checks import CODES
from agent.model.node import CameraInfo

HEALTHY: dict[str, Any] = {
    "node": "gpu", "state": "/var/lib/edge-agent", "disk_free": 10 << 30, "disk_total": 100 << 30, "operators": 2,
    "backup": True, "certificate_days": 300.0, "nodes": 4, "sink_wanted": True, "sink_connected": True,
    "clock_synchronised": True, "cameras": [CameraInfo("door", "file")], "gpu_wanted": True, "gpu_used": True,
    "docker_wanted": True, "docker_available": True, "queue_open": 10, "queue_max": 10_000, "blobs_bytes": 5,
    "blobs_quota": 1000, "failing": [FailingStep("p", "s", 2, "x")], "sources": [SourceFact("log", True)],
}  # fmt: skip

FAULTS: list[tuple[str, str, dict[str, Any]]] = [
    ("disk.full", "warning", {"disk_free": 100 << 20}),
    ("disk.full", "error", {"disk_free": 10 << 20}),
    ("operator.one", "info", {"operators": 1}),
    ("operator.no-backup", "info", {"backup": False}),
    ("node.pending", "warning", {"pending": 2}),
    ("certificate.expiring", "warning", {"certificate_days": 59.0}),
    ("certificate.expiring", "error", {"certificate_days": -1.0}),
    ("sink.missing", "error", {"sink_connected": None}),
    ("sink.disconnected", "warning", {"sink_connected": False, "sink_error": "refused"}),
    ("clock.unsynchronised", "info", {"clock_synchronised": False}),
    ("camera.silent", "warning", {"cameras": [CameraInfo("door", "rtsp", False)]}),
    ("node.gone", "error", {"gone": [Gone("garage", 600.0)]}),
    ("camera.gone", "error", {"lost_cameras": [Gone("door", 600.0)]}),
    ("source.gone", "error", {"lost_sources": [Gone("log", 601.0)]}),
    ("step.failing", "error", {"failing": [FailingStep("p", "s", 3, "died")]}),
    ("step.not-started", "error", {"failing": [FailingStep("p", "s", 3, "no image", started=False, hint="load it")]}),
    ("step.no-node", "warning", {"steps_without_node": ["p/labels"]}),
    ("gpu.unused", "warning", {"gpu_used": False}),
    ("docker.missing", "error", {"docker_available": False}),
    ("image.coming", "info", {"images": {"sha256:0": "image x is on its way from hall, 1 of 2 MB"}}),
    ("queue.full", "warning", {"queue_open": 9_500}),
    ("queue.full", "error", {"queue_open": 10_000}),
    ("blobs.full", "info", {"blobs_bytes": 990}),
    ("source.unreadable", "error", {"sources": [SourceFact("log", False, "no permission")]}),
    ("source.unread", "warning", {"sources": [SourceFact("log", True, unread=4096)]}),
    ("source.unread", "warning", {"sources": [SourceFact("log", True, gaps=1)]}),
    ("source.missing", "warning", {"sources": [SourceFact("log", True, missing=True)]}),
    ("source.nothing-recognised", "warning", {"sources": [SourceFact("log", True, unrecognised=2000)]}),
    ("source.nothing-recognised", "info", {"sources": [SourceFact("log", True, events=3, unheard=["192.0.2.7"])]}),
    ("source.dropped", "warning", {"sources": [SourceFact("log", True, dropped={"rate": 7}, dropped_s=60.0)]}),
    ("source.not-allowed", "warning", {"sources": [SourceFact("udp://:514", True, strangers=["192.0.2.7"])]}),
    ("presence.learning", "info", {"learning": [LearningFact("door", 80_000.0, 7)]}),
    ("mesh.protocol", "error", {"strangers": ["porch (version 9) speaks protocol 2"]}),
    ("mesh.unlinked", "info", {"unlinked": ["porch"]}),
]


def test_a_healthy_node_has_no_warnings() -> None:
    assert run_checks(Facts(**HEALTHY)) == []


def test_what_is_unknown_is_no_fault() -> None:
    assert run_checks(Facts(node="new")) == []


@pytest.mark.parametrize(("code", "severity", "fault"), FAULTS)
def test_a_fault_gives_its_warning_with_a_remedy(code: str, severity: str, fault: dict[str, Any]) -> None:
    found = run_checks(Facts(**HEALTHY | fault))
    assert [(w.code, w.severity) for w in found] == [(code, severity)]
    assert found[0].remedy
    assert found[0].text
    assert found[0].subject


def test_the_remedy_of_a_source_is_its_own() -> None:
    fact = SourceFact("udp://:514", False, "in use", hint="choose another port")
    (found,) = run_checks(Facts(**HEALTHY | {"sources": [fact]}))
    assert found.remedy == "choose another port"


def test_the_remedy_names_the_address_that_is_not_allowed() -> None:
    fact = SourceFact("udp://:514", True, strangers=["192.0.2.7", "192.0.2.8", "192.0.2.9"])
    (found,) = run_checks(Facts(**HEALTHY | {"sources": [fact]}))
    assert "edge-agent source allow 192.0.2.7" in found.remedy
    assert found.text.startswith("192.0.2.7 and 2 more send to udp://:514")


@pytest.mark.parametrize(
    ("events", "lines", "seconds", "silent"),
    [
        (0, 0, 0.0, False), (0, 1999, 60.0, False), (0, 2000, 60.0, True),  # many lines
        (0, 99, 1e6, False), (0, 100, 6 * 3600.0, True), (0, 100, 6 * 3600.0 - 1, False),  # some lines, and long
        (1, 19_999, 1e6, False), (1, 1_000_000, 3600.0, False), (1, 20_000, 3 * 86400.0, True),  # it was understood before
    ],
)  # fmt: skip
def test_only_a_log_that_says_much_without_an_event_is_a_fault(
    events: int, lines: int, seconds: float, silent: bool
) -> None:
    fact = SourceFact("log", True, events=events, unrecognised=lines, unrecognised_s=seconds)
    found = run_checks(Facts(**HEALTHY | {"sources": [fact]}))
    assert [w.code for w in found] == (["source.nothing-recognised"] if silent else [])


def test_drops_of_long_ago_are_no_fault_any_more() -> None:
    fact = SourceFact("log", True, dropped={"rate": 7}, dropped_s=3600.0)
    assert run_checks(Facts(**HEALTHY | {"sources": [fact]})) == []


def test_every_code_of_the_checks_is_tried_here() -> None:
    assert {code for code, _, _ in FAULTS} == CODES


def test_a_large_disk_may_be_nearly_full_while_there_is_room() -> None:
    assert run_checks(Facts(**HEALTHY | {"disk_free": 1 << 30, "disk_total": 10 << 40})) == []


def test_the_warning_travels_as_json() -> None:
    found = run_checks(Facts(**HEALTHY | {"pending": 1}))
    assert b"node.pending" in msgspec.json.encode(found)


def test_the_kernel_says_whether_it_believes_its_clock() -> None:
    assert clock_synchronised() in (True, False, None)


def test_a_step_that_cannot_start_is_told_with_its_own_hint() -> None:
    failing = FailingStep("p", "s", 3, "no image", started=False, hint="load it", waiting=2)
    (found,) = run_checks(Facts(**HEALTHY | {"failing": [failing]}))
    assert (found.subject, found.remedy) == ("p/s", "load it")
    assert found.text == "p/s cannot start on gpu: no image, 2 events wait for it"
