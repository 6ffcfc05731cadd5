"""Commands that other packages register in the entry-point group `edge_agent.commands`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.cli.lazy import COMMANDS
from agent.cli.main import NOUNS
from tests.cli.conftest import ROOT, Result, Shell

GARDEN = '''
import typer
app = typer.Typer()
@app.command()
def water() -> None:
    """Water the beds."""
    print("watered")
@app.command()
def weed() -> None:
    """Pull the weeds."""
'''
Register = Callable[..., None]


@pytest.fixture
def register(alone: Shell, tmp_path: Path) -> Register:
    """Installs a distribution with one command, of its name unless another is given, where the shell's Python finds it."""
    folder = tmp_path / "site"
    alone.environ["PYTHONPATH"] = f"{ROOT}:{folder}"

    def install(name: str, value: str, command: str = "", **modules: str) -> None:
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{COMMANDS}]\n{command or name} = {value}\n")
        for module, text in modules.items():
            (folder / f"{module}.py").write_text(text)

    return install


async def complete(alone: Shell, line: str, word: int) -> Result:
    return await alone(_EDGE_AGENT_COMPLETE="complete_bash", COMP_WORDS=f"edge-agent {line}", COMP_CWORD=str(word))


async def test_demo_is_registered_with_help_and_completion(alone: Shell) -> None:
    assert "The whole story on this machine." in (await alone("--help")).out
    shown = await alone("demo", "--help")
    assert (shown.code, "Usage: edge-agent demo" in shown.out) == (0, True)
    assert "Usage: edge-agent demo poke" in (await alone("demo", "poke", "--help")).out
    assert "demo" in (await complete(alone, "de", 1)).out.split()
    assert (await complete(alone, "demo p", 2)).out.split() == ["poke"]
    mistyped = await alone("dmeo")
    assert (mistyped.code, "did you mean demo?" in mistyped.err) == (2, True)


async def test_a_registered_command_is_listed_completed_and_runs(alone: Shell, register: Register) -> None:
    register("garden", "garden:app", garden='"""Beds and weeds.\n\nMore."""\n' + GARDEN)
    assert "Beds and weeds." in (await alone("--help")).out
    ran = await alone("garden", "water")
    assert (ran.code, ran.out) == (0, "watered\n")
    assert (await complete(alone, "gar", 1)).out.split() == ["garden"]
    assert (await complete(alone, "garden w", 2)).out.split() == ["water", "weed"]
    assert "did you mean garden" in (await alone("gardne")).err


async def test_a_command_without_its_package_is_a_clear_error(alone: Shell, register: Register) -> None:
    register("garden", "not_there.beds:app")
    shown = await alone("--help")
    assert shown.code == 0
    assert "Not usable: not_there.beds is not installed." in shown.out
    assert all(noun.name in shown.out for noun in NOUNS)
    assert "garden" in (await complete(alone, "gar", 1)).out.split()
    ran = await alone("garden", "water")
    assert (ran.code, "[not-installed]" in ran.err, "garden needs not_there" in ran.err) == (6, True, True)
    assert "hint: pip install --force-reinstall garden\n" in ran.err


async def test_a_broken_package_leaves_the_other_commands_alone(alone: Shell, register: Register) -> None:
    register("garden", "garden:app", garden="raise RuntimeError('no soil')\n")
    shown = await alone("--help")
    assert shown.code == 0
    assert "Not usable: RuntimeError: no soil" in shown.out
    assert (await alone("demo", "--help")).code == 0
    assert "did you mean" in (await alone("dmeo")).err
    ran = await alone("garden")
    assert (ran.code, "garden cannot be used: RuntimeError: no soil [not-usable]" in ran.err) == (6, True)
    assert "the package garden registers it" in ran.err


async def test_a_command_that_needs_a_missing_library_names_it(alone: Shell, register: Register) -> None:
    register("garden-shed", "shed.tools:app", command="shed")
    (alone.folder / "site/shed").mkdir()
    (alone.folder / "site/shed/__init__.py").write_text('"""Tools."""\n')
    (alone.folder / "site/shed/tools.py").write_text("import no_such_library\n")
    assert "Tools." in (await alone("--help")).out
    ran = await alone("shed")
    assert (ran.code, "shed needs no_such_library" in ran.err) == (6, True)
    assert "hint: pip install garden-shed, which installs" in ran.err


async def test_a_registered_command_cannot_replace_our_own(alone: Shell, register: Register) -> None:
    register("version", "garden:app", garden='"""Beds and weeds."""\n' + GARDEN)
    assert "Beds and weeds." not in (await alone("--help")).out
    assert (await alone("version", "--json")).json["version"]
