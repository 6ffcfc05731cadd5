"""Containers after the step contract, good and hostile, in a real engine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import docker
import msgspec
import pytest

from agent.blobs import BlobStore
from agent.errors import NotFound, StepFailed, Unreachable
from agent.executors import OWNER_LABEL, DockerExecutor, Policy
from agent.model.task import MIB, DockerTask, Limits, Runner
from tests.executors.conftest import Lines, MakeInput, runner_of
from tests.support import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(60)]

LOOP = r"while read -r line; do id=${line#*\"id\":\"}; id=${id%%\"*}; "
"""A shell program's start of the loop over events."""
EMPTY = 'echo "{\\"id\\":\\"$id\\",\\"events\\":[]}"; done'
"""Its end: an empty answer."""
LIMITS = Limits(memory=64 * MIB, timeout=5.0, outputs=1 * MIB, stdout=64 * 1024, stderr=4096, files=8, cpus=1.0)

MakeRunner = Callable[..., Runner]


@pytest.fixture
async def executor(tmp_path: Path) -> AsyncIterator[DockerExecutor]:
    made = DockerExecutor(f"test-{tmp_path.name}-{os.getpid()}", tmp_path / "scratch")
    await made.start()
    assert made.available, made.reason
    yield made
    await made.sweep()
    await made.close()


@pytest.fixture
async def make_runner(
    executor: DockerExecutor, store: BlobStore, busybox: str, log: Lines
) -> AsyncIterator[MakeRunner]:
    """Runners of a shell script; closed at the end."""
    made: list[Runner] = []

    def make(script: str, limits: Limits = LIMITS, **more: Any) -> Runner:
        task = DockerTask(image=busybox, args=["sh", "-c", script], limits=limits, start_timeout=limits.timeout, **more)
        runner = runner_of(store, log, task, docker=executor)
        made.append(runner)
        return runner

    yield make
    for runner in made:
        await runner.close()


def containers_of(owner: str) -> list[str]:
    client = docker.from_env()
    try:
        mine = {"label": f"{OWNER_LABEL}={owner}"}
        # Sparse: the engine may be unable to describe a container that it is removing.
        return [str(c.id) for c in client.containers.list(all=True, sparse=True, filters=mine)]
    finally:
        client.close()


async def test_answers_events_with_files_in_order(
    make_runner: MakeRunner, make_input: MakeInput, store: BlobStore, log: Lines
) -> None:
    script = (
        LOOP + 'sed s/in/out/ /blobs/a.txt >/outputs/b.txt; echo "did $id" >&2; '
        'echo "{\\"id\\":\\"$id\\",\\"events\\":[{\\"type\\":\\"t.out\\",\\"data\\":{\\"n\\":1,'
        '\\"blobs\\":[{\\"name\\":\\"b.txt\\",\\"type\\":\\"text/plain\\"}]}}]}"; done'
    )
    runner = make_runner(script)
    items = [await make_input(("a.txt", f"in {n}".encode())) for n in range(6)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(runner.run(item)) for item in items]
    for n, task in enumerate(tasks):
        (output,) = task.result()
        assert output.type == "t.out"
        assert output.data == {"n": 1}
        assert output.blobs[0].name == "b.txt"
        assert await store.read(output.blobs[0].cid) == f"out {n}".encode()
    await eventually(lambda: sorted(log) == [f"did e{n}" for n in range(1, 7)])


async def test_passes_on_a_blob_of_its_input(make_runner: MakeRunner, make_input: MakeInput, log: Lines) -> None:
    item = await make_input(("a.txt", b"x"))
    cid = item.blobs[0].cid
    script = (
        LOOP + 'echo "{\\"id\\":\\"$id\\",\\"events\\":[{\\"type\\":\\"t\\",\\"data\\":{\\"blobs\\":'
        f'[{{\\"name\\":\\"renamed\\",\\"cid\\":\\"{cid}\\"}}]}}}}]}}"; done'
    )
    (output,) = await make_runner(script).run(item)
    assert [(b.name, b.cid, b.type, b.size) for b in output.blobs] == [("renamed", cid, "text/plain", 1)]


async def test_each_event_finds_only_its_own_files(make_runner: MakeRunner, make_input: MakeInput, log: Lines) -> None:
    script = LOOP + "ls /blobs /outputs >&2; echo x >/outputs/left-over; " + EMPTY
    runner = make_runner(script)
    await runner.run(await make_input(("one", b"1")))
    await runner.run(await make_input(("two", b"2")))
    await eventually(lambda: "two" in log)
    assert [line for line in log if line in ("one", "two", "left-over")] == ["one", "two"]


async def test_is_shut_in(make_runner: MakeRunner, make_input: MakeInput, log: Lines) -> None:
    script = LOOP + (
        "id >&2; ip -o link >&2; touch /etc-x; touch /blobs/x; grep CapEff /proc/self/status >&2; "
        "grep NoNewPrivs /proc/self/status >&2; env >&2; "
    )
    runner = make_runner(script + EMPTY, env={"HELLO": "there", "EDGE_OUTPUTS": "/nowhere/"})
    await runner.run(await make_input(("one", b"1")))
    await eventually(lambda: any("HELLO" in line for line in log))
    text = "\n".join(log)
    assert "uid=65534" in text or os.geteuid() != 0
    assert [line.split(":")[1].strip() for line in log if "link/" in line] == ["lo"]
    assert text.count("Read-only file system") == 2
    assert "CapEff:\t0000000000000000" in text
    assert "NoNewPrivs:\t1" in text
    assert "HELLO=there" in text
    assert "EDGE_OUTPUTS=/outputs/" in text


async def test_volumes_of_the_image_are_no_way_to_fill_the_disk(
    executor: DockerExecutor, store: BlobStore, busybox: str, make_input: MakeInput, log: Lines
) -> None:
    client = docker.from_env()
    try:
        base = client.containers.create(busybox, ["true"])
        image = base.commit(changes='VOLUME ["/data", "/outputs"]')
        base.remove()
        assert image.id is not None
        volumes = {v.id for v in client.volumes.list()}
        script = (
            LOOP
            + "grep /data /proc/mounts >&2; dd if=/dev/zero of=/data/x bs=1M count=100 >&2 || echo full >&2; "
            + EMPTY
        )
        task = DockerTask(
            image=image.id, args=["sh", "-c", script], limits=msgspec.structs.replace(LIMITS, outputs=200 * MIB)
        )
        runner = runner_of(store, log, task, docker=executor)
        try:
            assert await runner.run(await make_input()) == []
            await eventually(lambda: "full" in log)
            assert log[0].startswith("tmpfs /data ")
            assert {v.id for v in client.volumes.list()} == volumes
        finally:
            await runner.close()
            client.images.remove(image.id, force=True)
    finally:
        client.close()


HOSTILE = {
    "endless loop": ("while :; do :; done", "step.timeout", "limit of 1 s"),
    "sleep": ("sleep 1000", "step.timeout", "limit of 1 s"),
    "memory bomb": ("x=x; while :; do x=$x$x; done", "step.exit", "more memory|exited with"),
    "stdout flood": ("yes", "step.stdout|step.answer", "bytes to stdout|may answer"),
    "stdout flood without a newline": ("cat /dev/zero", "step.stdout", "65536 bytes to stdout"),
    "stderr flood": ("yes >&2", "step.stderr", "4096 bytes to stderr"),
    "a large output": ("dd if=/dev/zero of=/outputs/x bs=1M count=8; sleep 100", "step.timeout|step.outputs", ""),
    "large outputs": (
        "for i in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=/outputs/$i bs=512k count=1; done; sleep 100",
        "step.outputs",
        "1048576 bytes in the outputs folder",
    ),
    "many outputs": ("for i in $(seq 999); do touch /outputs/$i; done; sleep 100", "step.outputs", "more than 8 files"),
    "fork bomb": ("f() { f | f & f; }; f; sleep 100", "step.timeout|step.exit", ""),
    "crash": ("kill -SEGV $$", "step.exit", "exited with 139"),
    "exit": ("exit 3", "step.exit", "exited with 3"),
    "garbage": ("echo hello", "step.answer", "may answer"),
    "binary garbage": ("head -c 100 /dev/zero; echo", "step.answer", "may answer"),
    "another event's answer": ('echo "{\\"id\\":\\"other\\",\\"events\\":[]}"', "step.order", "other"),
    "closed stdout": ("exec >&-; sleep 100", "step.timeout|step.exit", ""),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_program_is_stopped_and_the_next_event_works(
    name: str, make_runner: MakeRunner, make_input: MakeInput, log: Lines, executor: DockerExecutor
) -> None:
    evil, codes, text = HOSTILE[name]
    limits = Limits(memory=32 * MIB, timeout=1.0, outputs=MIB, stdout=65536, stderr=4096, files=8, cpus=0.5, pids=16)
    runner = make_runner(LOOP + f'case "$line" in *evil*) {evil};; esac; ' + EMPTY, limits)
    await runner.start()
    with pytest.raises(StepFailed) as failure:
        await runner.run(await make_input(evil=True))
    assert failure.value.code in codes.split("|")
    assert any(part in failure.value.message for part in text.split("|"))
    assert not failure.value.final
    assert await runner.run(await make_input()) == []
    assert len(containers_of(executor.owner)) == 1


OUTPUTS = {
    "link": ("ln -s /etc/passwd /outputs/f", "f"),
    "link to a blob": ("ln -s /blobs/a.txt /outputs/f", "f"),
    "folder link": ("ln -s /bin /outputs/f", "f/busybox"),
    "fifo": ("mkfifo /outputs/f", "f"),
    "folder": ("mkdir /outputs/f", "f"),
    "parent": (":", "../a.txt"),
    "absolute": (":", "/etc/passwd"),
    "missing": (":", "f"),
    "empty name": (":", ""),
    "blob as a file": (":", "/blobs/a.txt"),
}


@pytest.mark.parametrize("name", OUTPUTS)
async def test_output_that_is_not_a_regular_file_is_refused(
    name: str, make_runner: MakeRunner, make_input: MakeInput, log: Lines
) -> None:
    make, path = OUTPUTS[name]
    blobs = f'[{{\\"path\\":\\"{path}\\"}}]'
    answer = f'{{\\"id\\":\\"$id\\",\\"events\\":[{{\\"type\\":\\"t\\",\\"data\\":{{\\"blobs\\":{blobs}}}}}]}}'
    runner = make_runner(LOOP + f'case "$line" in *evil*) {make}; echo "{answer}"; continue;; esac; ' + EMPTY)
    with pytest.raises(StepFailed) as failure:
        await runner.run(await make_input(("a.txt", b"a"), evil=True))
    assert failure.value.code == "step.outputs"
    assert await runner.run(await make_input()) == []


async def test_error_of_the_program_is_final_and_keeps_it_running(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines, executor: DockerExecutor
) -> None:
    runner = make_runner(
        LOOP + 'case "$line" in *evil*) echo "{\\"id\\":\\"$id\\",\\"error\\":\\"no\\"}"; continue;; esac; ' + EMPTY
    )
    await runner.start()
    before = containers_of(executor.owner)
    with pytest.raises(StepFailed, match="reports: no") as failure:
        await runner.run(await make_input(evil=True))
    assert failure.value.final
    assert await runner.run(await make_input()) == []
    assert containers_of(executor.owner) == before


async def test_two_lines_for_one_event_end_the_program(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines, executor: DockerExecutor
) -> None:
    runner = make_runner(LOOP + 'echo "{\\"id\\":\\"$id\\",\\"events\\":[]}"; ' + EMPTY)
    await runner.run(await make_input())
    await eventually(lambda: containers_of(executor.owner) == [])
    await runner.run(await make_input())
    assert any("more than one line" in line or "without being asked" in line for line in log.agent)


@pytest.mark.parametrize("then", ["exec yes", "exec yes >&2", "exit 3"])
async def test_a_program_out_of_step_ends_at_once(
    then: str, make_runner: MakeRunner, make_input: MakeInput, log: Lines, executor: DockerExecutor, tmp_path: Path
) -> None:
    # The outputs folder is emptied once the agent has the answer.
    wait = "while [ -e /outputs/x ]; do sleep 0.01; done; "
    runner = make_runner(LOOP + "touch /outputs/x; " + EMPTY.removesuffix("done") + wait + then + "; done")
    assert await runner.run(await make_input()) == []
    await eventually(lambda: containers_of(executor.owner) == [] and list((tmp_path / "scratch").iterdir()) == [])
    assert runner.running == 0  # type: ignore[attr-defined]
    assert len(log.agent) == 1


async def test_killed_in_mid_event_fails_it_with_its_last_words(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines, executor: DockerExecutor
) -> None:
    runner = make_runner(LOOP + 'case "$line" in *evil*) echo working >&2; sleep 100;; esac; ' + EMPTY)
    task = asyncio.create_task(runner.run(await make_input(evil=True)))
    await eventually(lambda: "working" in log)
    (container,) = containers_of(executor.owner)
    client = docker.from_env()
    try:
        await asyncio.to_thread(client.containers.get(container).kill)
    finally:
        client.close()
    with pytest.raises(StepFailed, match="exited with 137") as failure:
        await task
    assert failure.value.fields["stderr"] == ["working"]
    assert await runner.run(await make_input()) == []


async def test_cancelled_event_ends_its_program(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines, executor: DockerExecutor
) -> None:
    runner = make_runner(LOOP + 'case "$line" in *evil*) echo working >&2; sleep 100;; esac; ' + EMPTY)
    task = asyncio.create_task(runner.run(await make_input(evil=True)))
    await eventually(lambda: "working" in log)
    before = containers_of(executor.owner)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert containers_of(executor.owner) == []
    await runner.run(await make_input())
    assert containers_of(executor.owner) != before


async def test_close_leaves_nothing_behind(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines, executor: DockerExecutor, tmp_path: Path
) -> None:
    runner = make_runner(LOOP + "echo working >&2; sleep 100; " + EMPTY)
    task = asyncio.create_task(runner.run(await make_input()))
    await eventually(lambda: "working" in log)
    await runner.close()
    with pytest.raises(StepFailed, match="being stopped"):
        await task
    assert containers_of(executor.owner) == []
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_start_sweeps_containers_of_an_earlier_run(
    executor: DockerExecutor, make_runner: MakeRunner, make_input: MakeInput, log: Lines, tmp_path: Path
) -> None:
    await make_runner(LOOP + EMPTY).start()
    (left,) = containers_of(executor.owner)
    other = DockerExecutor("somebody-else", tmp_path / "other")
    await other.start()
    assert containers_of(executor.owner) == [left]
    again = DockerExecutor(executor.owner, tmp_path / "again")
    await again.start()
    assert containers_of(executor.owner) == []
    await other.close()
    await again.close()


async def test_missing_image_is_named(executor: DockerExecutor, store: BlobStore) -> None:
    runner = runner_of(store, Lines(), DockerTask(image="edge/none:1"), docker=executor)
    with pytest.raises(NotFound, match="edge/none:1"):
        await runner.start()
    with pytest.raises(NotFound, match="edge/none"):
        await executor.image_id("edge/none:1")
    await runner.close()


async def test_a_removed_image_is_named_by_its_tag(executor: DockerExecutor, store: BlobStore) -> None:
    gone = DockerTask(image="sha256:" + "0" * 64, name="edge/detector:1")
    for task in (gone, msgspec.structs.replace(gone, once=True)):
        runner = runner_of(store, Lines(), task, docker=executor)
        with pytest.raises(NotFound, match=r"the image edge/detector:1 \(sha256:0{12}\) is not on this node") as caught:
            await runner.start()
        assert "pull" in caught.value.hint
        await runner.close()


async def test_image_id_is_the_engines(executor: DockerExecutor, busybox: str) -> None:
    assert (await executor.image_id(busybox)).startswith("sha256:")


async def test_missing_program_is_named(
    executor: DockerExecutor, store: BlobStore, busybox: str, make_input: MakeInput, log: Lines
) -> None:
    runner = runner_of(store, log, DockerTask(image=busybox, args=["/no/such"]), docker=executor)
    await runner.start()
    await eventually(lambda: runner.start_failure)
    assert "exited with 127" in str(runner.start_failure)
    with pytest.raises(StepFailed, match="exited with 127") as failure:
        await runner.run(await make_input())
    assert "/no/such" in str(failure.value.fields["stderr"])
    assert containers_of(executor.owner) == []
    await runner.close()


async def test_engine_that_answers_has_a_version(executor: DockerExecutor) -> None:
    client = docker.from_env()
    try:
        assert executor.version == client.version()["Version"]
    finally:
        client.close()


async def test_absent_engine_is_a_reason_not_a_crash(tmp_path: Path, store: BlobStore) -> None:
    executor = DockerExecutor("nobody", tmp_path / "scratch", host=f"unix://{tmp_path}/none.sock")
    await executor.start()
    assert not executor.available
    assert executor.version == ""
    assert "no Docker engine answers" in executor.reason
    assert not await executor.gpu()
    runner = runner_of(store, Lines(), DockerTask(image="x"), docker=executor)
    with pytest.raises(Unreachable):
        await runner.start()
    await runner.close()
    await executor.close()


class Relay:
    """The engine's socket at another place, which can be taken away."""

    def __init__(self, path: Path) -> None:
        self.host = f"unix://{path}"
        self._path = path
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_reader, up_writer = await asyncio.open_unix_connection("/var/run/docker.sock")
        try:
            await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))
        except (asyncio.CancelledError, OSError):
            pass
        finally:
            for end in (writer, up_writer):
                end.transport.abort()
            self._tasks.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def test_engine_may_go_and_come_back(
    tmp_path: Path, store: BlobStore, busybox: str, make_input: MakeInput, log: Lines
) -> None:
    relay = Relay(tmp_path / "docker.sock")
    await relay.open()
    executor = DockerExecutor(f"away-{os.getpid()}", tmp_path / "scratch", host=relay.host)
    await executor.start()
    script = LOOP + 'case "$line" in *evil*) echo working >&2; sleep 100;; esac; ' + EMPTY
    runner = runner_of(store, log, DockerTask(image=busybox, args=["sh", "-c", script]), docker=executor)
    task = asyncio.create_task(runner.run(await make_input(evil=True)))
    await eventually(lambda: "working" in log)
    await relay.close()
    with pytest.raises(StepFailed, match="the container is gone"):
        await task
    with pytest.raises(Unreachable):
        await runner.run(await make_input())
    assert not executor.available
    (left,) = containers_of(executor.owner)
    await relay.open()
    assert await runner.run(await make_input()) == []
    assert executor.reason == ""
    assert len(containers_of(executor.owner)) == 1
    assert left not in containers_of(executor.owner)
    await runner.close()
    await executor.close()
    await relay.close()
    assert containers_of(executor.owner) == []


async def test_policy_caps_the_cpus(executor: DockerExecutor, store: BlobStore, busybox: str) -> None:
    task = DockerTask(image=busybox, args=["sh", "-c", LOOP + EMPTY], limits=LIMITS)
    runner = runner_of(store, Lines(), task, docker=executor, policy=Policy(cpus=0.25))
    await runner.start()
    client = docker.from_env()
    try:
        (container,) = containers_of(executor.owner)
        assert client.containers.get(container).attrs["HostConfig"]["NanoCpus"] == 250_000_000
    finally:
        client.close()
        await runner.close()


async def test_missing_gpu_is_named(executor: DockerExecutor, store: BlobStore, busybox: str) -> None:
    if await executor.gpu():
        pytest.skip("this machine has a GPU for containers")
    runner = runner_of(store, Lines(), DockerTask(image=busybox, args=["sh"], gpus=1), docker=executor)
    with pytest.raises(StepFailed) as failure:
        await runner.start()
    assert "GPU" in failure.value.hint
    await runner.close()


async def test_program_ends_by_itself_when_the_agent_dies(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines, executor: DockerExecutor
) -> None:
    """The agent's end of stdin closes with the agent: StdinOnce hands that on to the program."""
    runner = make_runner(LOOP + EMPTY)
    await runner.run(await make_input())
    runner._warm.program._writer.transport.abort()  # type: ignore[attr-defined]
    (container,) = containers_of(executor.owner)
    client = docker.from_env()
    try:
        end = await asyncio.to_thread(client.containers.get(container).wait, timeout=20)
    finally:
        client.close()
    assert end["StatusCode"] == 0
