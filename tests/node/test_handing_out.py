"""A node hands out the release that it holds, over TLS with its own key, to curl and to busybox."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import shutil
import socket
import ssl
from pathlib import Path

import pytest

from agent.api.requests import CreateToken
from agent.node.handing_out import key_pin
from agent.tls import unchecked_context
from tests.mesh.building import free_port
from tests.node.site import Site
from tests.support import eventually

SCRIPT = b'echo installed "$@"\n'


async def run(line: str) -> tuple[int, str]:
    """Exit code and output of a line in the shell."""
    process = await asyncio.create_subprocess_shell(
        line, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


def hold_release(state: Path) -> None:
    folder = state / "packages"
    folder.mkdir(parents=True)
    (folder / "install.sh").write_bytes(SCRIPT)
    (folder / "edge-agent.tar.xz").write_bytes(b"package" * 100_000)
    (folder / "manifest.json").write_bytes(b"{}")


@pytest.fixture
async def address(site: Site) -> str:
    """`host:port` of the install server of the running operator `hall`."""
    hold_release(site.config("hall").state)
    port = free_port()
    await site.start("hall", **{"install.port": port})

    def listens() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    await eventually(listens)
    return f"127.0.0.1:{port}"


@pytest.mark.skipif(shutil.which("curl") is None, reason="Debian's package curl is not installed")
async def test_line_with_curl_runs_the_script_of_the_pinned_node_only(site: Site, address: str) -> None:
    hall = site.running["hall"][0]
    token = await hall.api.tokens.create(CreateToken(ttl=600))
    assert token.install is not None
    assert f"https://{address}/install" in token.install.curl
    code, output = await run(token.install.curl)
    pin = key_pin(hall.admission.identity)
    assert (code, output) == (0, f"installed --from https://{address}/install#sha256//{pin}\n")
    other = base64.b64encode(hashlib.sha256(b"another key").digest()).decode()
    code, output = await run(token.install.curl.replace(pin, other))
    assert "installed" not in output
    assert "does not match pinned public key" in output


@pytest.mark.skipif(not Path("/bin/busybox").exists(), reason="Debian's package busybox-static is not installed")
async def test_line_with_wget_runs_the_script_with_the_right_hash_only(site: Site, address: str) -> None:
    token = await site.running["hall"][0].api.tokens.create(CreateToken(ttl=600))
    assert token.install is not None
    # Without openssl in the path busybox speaks TLS itself.
    words = "mktemp sha256sum sh rm"
    for word in words.split():
        (site.folder / word).symlink_to(shutil.which(word) or "")
    line = f"PATH={site.folder}; {token.install.wget.replace('wget', '/bin/busybox wget')}"
    code, output = await run(line)
    assert code == 0, output
    assert "installed --from https" in output
    good = hashlib.sha256(SCRIPT).hexdigest()
    code, output = await run(line.replace(good, hashlib.sha256(b"x").hexdigest()))
    assert "installed" not in output
    assert (code, "FAILED" in output) == (1, True)


async def test_client_without_request_is_cut(site: Site, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.api.install.ASKS_WITHIN", 0.2)
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=unchecked_context(), server_hostname="")
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_one_sender_cannot_take_all_connections(site: Site, address: str) -> None:
    from agent.api.install import EACH

    host, _, port = address.partition(":")
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection((host, int(port)), 5)) for _ in range(EACH + 1)]
        held[-1].settimeout(10)
        assert await asyncio.to_thread(held[-1].recv, 1) == b""


async def test_node_without_a_release_gives_no_line(site: Site) -> None:
    port = free_port()
    hall = await site.start("hall", **{"install.port": port})
    token = await hall.api.tokens.create(CreateToken(ttl=600))
    assert token.install is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


async def test_port_in_use_does_not_end_the_node(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    hold_release(site.config("hall").state)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        await site.start("hall", **{"install.port": taken.getsockname()[1]})
        await eventually(lambda: "install.port" in caplog.text)
        assert not site.running["hall"][1].done()
