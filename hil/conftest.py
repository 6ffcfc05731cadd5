"""Options and fixtures of the tests of devices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import parse_duration
from agent.errors import ConfigError
from hil import fleet, inventory
from hil.device import Device
from hil.fleet import Fleet
from hil.standins import DeviceError
from tests.netns import available

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a run."""
    group = parser.getgroup("hil", "devices")
    group.addoption(
        "--inventory", type=Path, help="real devices (hil/inventory.example.toml); default: stand-ins made here"
    )
    group.addoption("--release", type=Path, help="folder of the release (default: the inventory's, else dist)")
    group.addoption(
        "--soak", help="how long the mesh runs under arrivals, like 30m (default: the inventory's, else 1m)"
    )
    group.addoption("--report", type=Path, default=ROOT / "build/hil", help="folder of report.md and report.json")


def _inventory(config: pytest.Config) -> inventory.Inventory | None:
    file: Path | None = config.getoption("--inventory")
    if file is None:
        return None
    try:
        return inventory.load(file)
    except ConfigError as error:
        raise pytest.UsageError(f"{error.message} ({error.hint})") from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the fixture `device` runs on each device."""
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", fleet.names(_inventory(metafunc.config)), indirect=True)


@pytest.fixture(scope="session")
def devices(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """All devices of the run; afterwards the report is written, and no stand-in is left."""
    found = _inventory(request.config)
    if found is None and not available():
        pytest.skip("the stand-ins need root")
    folder: Path = request.config.getoption("--report")
    folder.mkdir(parents=True, exist_ok=True)
    release = request.config.getoption("--release") or (ROOT / (found.release if found else "dist"))
    try:
        made = Fleet(folder, release, found)
    except DeviceError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> float:
    """Seconds of the soak."""
    found = _inventory(request.config)
    return parse_duration(request.config.getoption("--soak") or (found.soak if found else "1m"))


@pytest.fixture
def device(request: pytest.FixtureRequest, devices: Fleet) -> Device:
    """The device under test. A stand-in for which the release has no package is not started: form only."""
    name: str = request.param
    if lacking := devices.lacking(name):
        pytest.skip(lacking)
    return devices.device(name)


@pytest.fixture
def agent(device: Device) -> Device:
    """The device under test, with its agent."""
    if not device.installed:
        pytest.skip(f"{device.name} has no agent: its installation failed or was skipped")
    return device
