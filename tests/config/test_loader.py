"""Layers, origins and mistakes of the configuration."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Config, blob_quota, load_config, logs_size
from agent.config.keys import keys
from agent.errors import ConfigError


def load(folder: Path, text: str, environ: dict[str, str] | None = None, **options: Any) -> Config:
    file = folder / "config.yaml"
    file.write_text(text)
    return load_config(file, environ or {}, options)


def fails(folder: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert caught.value.hint
    return caught.value


def test_without_a_file_every_value_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("")
    config = load_config(tmp_path / "empty.yaml", {})
    assert config.origins == {}
    assert config.origin("mesh.port") == "default"
    assert (config.mesh.port, config.mesh.enrol_port, config.policy.process) == (7946, 7947, False)
    assert config.cameras_file == config.state / "cameras.yaml"


def test_options_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    text = "name: from-file\nmesh:\n  port: 1\n  enrol_port: 2\n"
    environ = {"EDGE_AGENT_MESH_PORT": "3", "EDGE_AGENT_NAME": "from-environment"}
    config = load(tmp_path, text, environ, name="from-option")
    assert (config.name, config.mesh.port, config.mesh.enrol_port) == ("from-option", 3, 2)
    assert config.origin("name") == "option --name"
    assert config.origin("mesh.port") == "environment EDGE_AGENT_MESH_PORT"
    assert config.origin("mesh.enrol_port") == f"{tmp_path}/config.yaml:4"


def test_state_socket_and_config_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: ap\n")
    environ = {
        "EDGE_AGENT_CONFIG": str(tmp_path / "a.yaml"),
        "EDGE_AGENT_STATE": str(tmp_path / "state"),
        "EDGE_AGENT_SOCKET": str(tmp_path / "s"),
    }
    config = load_config(None, environ)
    assert (config.name, config.state, config.run) == ("ap", tmp_path / "state", tmp_path / "s")
    assert config.cameras_file == tmp_path / "state" / "cameras.yaml"


def test_lists_labels_and_flags_come_from_the_environment(tmp_path: Path) -> None:
    environ = {
        "EDGE_AGENT_MESH_JOIN": "10.0.0.5:7946, [fd00::1]:7946",
        "EDGE_AGENT_LABELS": "camera=true,room=hall",
        "EDGE_AGENT_MESH_MDNS": "no",
        "EDGE_AGENT_POLICY_CPUS": "0.25",
        "EDGE_AGENT_BLOBS_QUOTA": "64MiB",
    }
    config = load(tmp_path, "", environ)
    assert config.mesh.join == ["10.0.0.5:7946", "[fd00::1]:7946"]
    assert config.labels == {"camera": "true", "room": "hall"}
    assert (config.mesh.mdns, config.policy.cpus, config.blobs.quota) == (False, 0.25, 64 << 20)


def test_a_mistyped_variable_is_logged_with_the_nearest_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load(tmp_path, "", {"EDGE_AGENT_MESH_PROT": "1"})
    assert "EDGE_AGENT_MESH_PORT" in caplog.text


@pytest.mark.parametrize(
    ("text", "line", "key", "hint"),
    [
        ("name: a\nmesh:\n  prot: 1\n", 3, "mesh.prot", "mesh.port"),
        ("mseh: {}\n", 1, "mseh", "mesh"),
        ("\nport: 1\n", 2, "port", "mesh.port"),
        ("polcy:\n  wasm: true\n", 1, "polcy", "policy"),
        ("origins: {}\n", 1, "origins", "configuration.md"),
    ],
)
def test_an_unknown_key_names_its_line_and_the_nearest_key(
    tmp_path: Path, text: str, line: int, key: str, hint: str
) -> None:
    error = fails(tmp_path, text)
    assert (error.fields["line"], error.fields["key"]) == (line, key)
    assert hint in error.hint
    assert f"config.yaml:{line}:" in error.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mesh: {port: many}", "whole number"),
        ("mesh: {port: 70000}", "whole number"),
        ("mesh: {mdns: on}", "true or false"),
        ("uplink: {status_every: soon}", "duration"),
        ("blobs: {quota: 3 elephants}", "size"),
        ("log: {level: loud}", "`debug`"),
        ("state: [a]", "path"),
        ("policy: {cpus: 2}", "number"),
        ("name: two words", "text"),
        ("mesh: 7946", "map of keys"),
        ("sources: {tail: messages}", "list"),
    ],
)
def test_a_wrong_value_says_what_is_expected(tmp_path: Path, text: str, expected: str) -> None:
    error = fails(tmp_path, "# a comment\n" + text + "\n")
    assert expected in error.message
    assert error.fields["line"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "a: [\n",
        "- 1\n",
        "just text\n",
        "a: 1\na: 2\n",
        "\x01\n",
        "a: *nothing\n",
        "labels: {node: x}\n",
        "labels: {a b: c}\n",
    ],
)
def test_what_is_no_configuration_is_a_config_error(tmp_path: Path, text: str) -> None:
    assert "config.yaml" in fails(tmp_path, text).message


def test_yaml_is_version_1_2_so_that_on_is_text(tmp_path: Path) -> None:
    assert load(tmp_path, "labels: {light: on}\n").labels == {"light": "on"}


def test_labels_may_be_written_as_booleans_and_numbers(tmp_path: Path) -> None:
    assert load(tmp_path, "labels: {camera: true, floor: 2}\n").labels == {"camera": "true", "floor": "2"}


def test_a_bomb_of_aliases_is_refused(tmp_path: Path) -> None:
    rows = ["sources:", "  tail:", "    - &a0 {x: [1,1,1,1,1,1,1,1,1,1]}"]
    rows += [f"    - &a{n} {{x: [{','.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 8)]
    assert "values" in fails(tmp_path, "\n".join(rows)).message


def test_files_that_cannot_be_the_configuration_are_refused(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_bytes(b"#" * (1 << 20) + b"\n")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9\n")
    for name in ("big.yaml", "latin.yaml", "missing.yaml"):
        with pytest.raises(ConfigError, match=name):
            load_config(tmp_path / name, {})


def test_a_wrong_option_names_the_option() -> None:
    with pytest.raises(ConfigError, match="--port"):
        load_config("/dev/null", {}, {"mesh.port": "x"})
    with pytest.raises(ConfigError, match="unknown key"):
        load_config("/dev/null", {}, {"mesh.prt": "1"})


def test_the_syslog_receiver_may_be_a_source(tmp_path: Path) -> None:
    text = 'sources:\n  tail: [/var/log/messages, {syslog: "udp://:5514", allow: [10.0.0.0/8]}]\n'
    tail = load(tmp_path, text).sources.tail
    assert tail == ["/var/log/messages", {"syslog": "udp://:5514", "allow": ["10.0.0.0/8"]}]


def test_the_quota_without_a_number_is_a_tenth_of_what_is_free(tmp_path: Path) -> None:
    assert 0 < blob_quota(0, tmp_path / "not" / "there") <= 5_000_000_000
    assert blob_quota(123, tmp_path) == 123


def test_size_of_logs_follows_the_space_unless_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 100 << 20
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    logs = tmp_path / "not" / "there" / "logs"
    assert logs_size(0, logs) == 10 << 20
    (logs / "p" / "s").mkdir(parents=True)
    with (logs / "p" / "s" / "1-a.log").open("wb") as file:
        file.truncate(50 << 20)
    assert logs_size(0, logs) == 15 << 20
    free = 1 << 40
    assert (logs_size(0, logs), logs_size(123, logs)) == (64 << 20, 123)


def test_every_key_can_be_set_by_its_environment_variable() -> None:
    for key in keys().values():
        shown = key.show(key.default)
        if isinstance(shown, (str, int, float)):
            text = str(shown).lower() if isinstance(shown, bool) else str(shown)
            config = load_config("/dev/null", {key.environment: text})
            assert config.origin(key.name) == f"environment {key.environment}"


@given(st.text(max_size=200))
def test_no_text_makes_it_fail_otherwise(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(ConfigError):
        load_config(file, {})
