"""Differences of configurations."""

from __future__ import annotations

from pathlib import Path

from agent.config import changed_keys, load_config, show_config, with_keys


def test_changed_keys_are_named_and_some_can_be_taken_over(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("labels: {room: hall}\nmesh: {port: 1000}\n")
    old = load_config(file, {})
    file.write_text("log: {level: debug}\nlabels: {room: attic}\nmesh: {port: 1000, mdns: false}\n")
    new = load_config(file, {})
    assert changed_keys(old, new) == ["labels", "mesh.mdns", "log.level"]
    mixed = with_keys(old, new, ["labels", "log.level"])
    assert (mixed.labels, mixed.log.level, mixed.mesh.mdns) == ({"room": "attic"}, "debug", True)
    shown = {row["key"]: row["origin"] for row in show_config(mixed)}
    assert shown["log.level"] == f"{file}:1"
    assert shown["mesh.mdns"] == "default"
    assert changed_keys(mixed, new) == ["mesh.mdns"]


def test_a_value_that_went_back_to_its_default_has_that_origin(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("log: {level: debug}\n")
    old = load_config(file, {})
    file.write_text("{}\n")
    back = with_keys(old, load_config(file, {}), ["log.level"])
    assert (back.log.level, back.origin("log.level")) == ("info", "default")
