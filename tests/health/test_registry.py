"""The table of warnings."""

from __future__ import annotations

import logging

import pytest

from agent.health import HealthRegistry
from agent.model.health import SEVERITIES, Warning


def warning(code: str, subject: str = "x", severity: str = "warning", text: str = "t") -> Warning:
    return Warning(code, subject, text, "do something", severity)


def test_worst_first_then_by_code_and_subject() -> None:
    registry = HealthRegistry()
    for w in (
        warning("b.b", severity="info"),
        warning("a.a", "2"),
        warning("a.a", "1"),
        warning("c.c", severity="error"),
    ):
        registry.set(w)
    assert [(w.code, w.subject) for w in registry.list()] == [("c.c", "x"), ("a.a", "1"), ("a.a", "2"), ("b.b", "x")]


def test_a_warning_is_logged_only_when_it_comes_and_goes(caplog: pytest.LogCaptureFixture) -> None:
    registry = HealthRegistry()
    with caplog.at_level(logging.INFO):
        for text in ("t", "t", "worse"):
            registry.set(warning("a.a", text=text))
        registry.clear("a.a", "x")
        registry.clear("a.a", "x")
    assert [r.getMessage() for r in caplog.records] == ["a.a: t", "a.a: over"]


def test_an_information_is_not_logged_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    registry = HealthRegistry()
    with caplog.at_level(logging.INFO):
        for severity in SEVERITIES:
            registry.set(Warning("a.a", severity, "t", "r", severity))
    assert [r.levelname for r in caplog.records] == ["WARNING", "WARNING", "INFO"]


def test_on_change_is_called_for_changes_only() -> None:
    registry, calls = HealthRegistry(), []
    registry.on_change(lambda: calls.append(len(registry.list())))
    registry.set(warning("a.a"))
    registry.set(warning("a.a"))
    registry.set(warning("a.a", text="other"))
    registry.clear("b.b")
    registry.clear("a.a")
    assert calls == [1, 1, 0]


def test_update_replaces_only_its_own_codes() -> None:
    registry = HealthRegistry()
    registry.set(warning("mine", "old"))
    registry.set(warning("other"))
    registry.update({"mine"}, [warning("mine", "new")])
    assert [(w.code, w.subject) for w in registry.list()] == [("mine", "new"), ("other", "x")]


def test_clear_without_a_subject_clears_all_of_the_code() -> None:
    registry = HealthRegistry()
    for subject in "abc":
        registry.set(warning("a.a", subject))
    registry.clear("a.a")
    assert registry.list() == []


def test_an_unknown_severity_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="severity"):
        HealthRegistry().set(warning("a.a", severity="bad"))
