"""The owner's policy: each rule is checked in one place and named in the refusal."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agent.blobs import BlobStore
from agent.config import PolicyConfig
from agent.errors import Refused
from agent.executors import DockerExecutor, Executors, NoLog, Policy, ProcessExecutor, WasmExecutor
from agent.model.node import Reserved
from agent.model.task import MIB, DockerTask, Limits, ProcessTask, ProgramTask, WasmTask

CONTAINER = DockerTask(image="x", limits=Limits(memory=64 * MIB, cpus=2.0))
PROCESS = ProcessTask(command=["true"])
USUAL = DockerTask(image="x").limits
WASM = WasmTask(module="x")


def executors_of(tmp_path: Path, store: BlobStore, policy: Policy) -> Executors:
    return Executors(
        WasmExecutor(tmp_path / "cache", tmp_path / "wasm"),
        DockerExecutor("nobody", tmp_path / "docker"),
        ProcessExecutor(tmp_path / "process"),
        policy,
        store,
    )


@pytest.mark.parametrize(
    ("policy", "task", "rule"),
    [
        (Policy(wasm=False), WASM, "policy.wasm"),
        (Policy(docker=False), CONTAINER, "policy.docker"),
        (Policy(memory=MIB), CONTAINER, "policy.memory"),
        (Policy(), PROCESS, "policy.process"),
    ],
)
def test_refusal_names_the_rule(tmp_path: Path, store: BlobStore, policy: Policy, task: ProgramTask, rule: str) -> None:
    with pytest.raises(Refused) as failure:
        executors_of(tmp_path, store, policy).runner(task, "s", NoLog(), Path("x.wasm"))
    assert failure.value.code == rule
    assert rule in f"{failure.value.message} {failure.value.hint}"


@pytest.mark.parametrize("task", [WASM, CONTAINER, PROCESS])
def test_allowed_program_has_a_runner(tmp_path: Path, store: BlobStore, task: ProgramTask) -> None:
    executors = executors_of(tmp_path, store, Policy(process=True))
    assert executors.runner(task, "s", NoLog(), Path("x.wasm")).in_flight > 0


def test_policy_caps_only_the_cpus_of_a_container() -> None:
    checked = Policy(cpus=0.25, memory=64 * MIB).check(CONTAINER)
    assert checked.limits == Limits(memory=64 * MIB, cpus=0.25)
    assert Policy(cpus=4.0).check(CONTAINER) == CONTAINER


@pytest.mark.parametrize(
    ("limits", "gpus", "reserved"),
    [
        (USUAL, 0, Reserved()),
        (msgspec.structs.replace(USUAL, cpus=1.5), 0, Reserved(cpus=1.0)),
        (msgspec.structs.replace(USUAL, cpus=0.5, memory=64 * MIB), 2, Reserved(0.5, 64 * MIB, 2)),
    ],
)
def test_capped_default_reserves_nothing(
    tmp_path: Path, store: BlobStore, limits: Limits, gpus: int, reserved: Reserved
) -> None:
    executors = executors_of(tmp_path, store, Policy(cpus=1.0))
    runner = executors.runner(DockerTask(image="x", limits=limits, gpus=gpus, once=True), "s", NoLog())
    assert executors.reserved() == Reserved()
    runner._runs.add(object())  # type: ignore[attr-defined]
    assert executors.reserved() == reserved


def test_shares_are_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    policy = Policy.of(PolicyConfig(process=True, cpus=0.5, memory=0.25))
    assert (policy.process, policy.cpus) == (True, 4.0)
    assert policy.memory > 0
    assert Policy.of(PolicyConfig(cpus=0.01)).cpus == 1.0


def test_a_source_filter_needs_the_policy_too(tmp_path: Path, store: BlobStore) -> None:
    with pytest.raises(Refused) as failure:
        executors_of(tmp_path, store, Policy(wasm=False)).filter(WASM, Path("x.wasm"))
    assert failure.value.code == "policy.wasm"
