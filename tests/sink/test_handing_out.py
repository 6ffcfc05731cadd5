"""The sink hands out a release to new devices, and its page shows the line for them."""

from __future__ import annotations

import asyncio
import html
import re
import shutil
from pathlib import Path

import httpx
import pytest

from agent.tls import pinned_context
from tests.sink.running import running_sink

SCRIPT = b'echo installed "$@"\n'


def hold_release(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "install.sh").write_bytes(SCRIPT)
    (folder / "edge-agent.tar.xz").write_bytes(b"package" * 100_000)
    (folder / "manifest.json").write_bytes(b"{}")


@pytest.mark.skipif(shutil.which("curl") is None, reason="Debian's package curl is not installed")
async def test_line_of_the_page_runs_the_script(tmp_path: Path) -> None:
    hold_release(tmp_path / "release")
    async with running_sink(tmp_path / "sink", "--packages", str(tmp_path / "release")) as sink:
        async with httpx.AsyncClient(verify=pinned_context(sink.pin), base_url=sink.url) as browser:
            assert (await browser.get("/install")).content == SCRIPT
            assert (await browser.get("/install/edge-agent.tar.xz")).content == b"package" * 100_000
            assert (await browser.get("/install/none")).status_code == 404
            assert (await browser.post("/install")).status_code == 405
            await browser.get(sink.facts["login_url"], follow_redirects=True)
            page = (await browser.get("/buildings")).text
        found = re.search(r'<section class="panel" id="install">.*?<pre[^>]*>(.*?)</pre>', page, re.DOTALL)
        assert found is not None
        line = html.unescape(found[1])
        assert "TOKEN" not in line
        process = await asyncio.create_subprocess_shell(line, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        assert output.decode().startswith(f"installed --from {sink.url}/install#sha256//")


async def test_sink_without_a_release_shows_no_line(tmp_path: Path) -> None:
    async with (
        running_sink(tmp_path / "sink") as sink,
        httpx.AsyncClient(verify=pinned_context(sink.pin), base_url=sink.url) as browser,
    ):
        assert (await browser.get("/install")).status_code == 404
        await browser.get(sink.facts["login_url"], follow_redirects=True)
        page = await browser.get("/buildings")
        assert page.status_code == 200
        assert 'id="install"' not in page.text
