"""The inventory of real devices (hil/inventory.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import ConfigError
from hil import inventory

ROOT = Path(__file__).parents[2]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExampleExam"
GOOD = f"""
[[device]]
name = "hall"
host = "192.0.2.1"
host_key = "{KEY}"
roles = ["operator"]
"""


def load(folder: Path, text: str) -> inventory.Inventory:
    file = folder / "devices.toml"
    file.write_text(text)
    return inventory.load(file)


def test_example_is_valid_but_for_its_keys(tmp_path: Path) -> None:
    text = (ROOT / "hil/inventory.example.toml").read_text()
    (tmp_path / "key").touch()
    found = load(tmp_path, text.replace("~/.ssh/id_ed25519", str(tmp_path / "key")))
    assert found.operator.name == "laptop"
    assert [d.name for d in found.device if d.power] == ["hall-ap"]
    assert found.phone is not None
    assert found.phone.mac == "02:00:00:aa:bb:cc"


def test_few_lines_are_enough(tmp_path: Path) -> None:
    (entry,) = load(tmp_path, GOOD).device
    assert (entry.user, entry.port, entry.known_host) == ("root", 22, f"192.0.2.1 {KEY}\n")
    (entry,) = load(tmp_path, f"{GOOD}port = 2222\n").device
    assert entry.known_host == f"[192.0.2.1]:2222 {KEY}\n"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("prot = 22", "device hall: Object contains unknown field `prot`"),
        ('port = "22"', "device hall: Expected `int`, got `str`"),
        ("port = 0", "device hall: port is not between"),
        ('user = "-oProxyCommand=x"', "device hall: user is not"),
        ('key = "/none/at/all"', "device hall: there is no key /none/at/all"),
        ('variant = "gpu"', "Invalid enum value 'gpu'"),
        ('labels = {node = "x"}', "the label node is reserved"),
        ('power = {off = ["a"], on = []}', "power needs the commands off and on"),
        ('power = {off = ["a"], on = ["b"], pause = "soon"}', "power.pause: 'soon' is not a duration"),
        (f'[[device]]\nname = "hall"\nhost = "h"\nhost_key = "{KEY}"', "two devices have the name hall"),
        ('[phone]\nmac = "AA"\njoin = ["x"]', "phone: mac is not an address"),
        ("[[device", "is not TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"{GOOD}{more}\n")
    assert said in caught.value.message
    assert "devices.toml" in caught.value.message
    assert "inventory.example.toml" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("device = []", "it has no [[device]]"),
        (GOOD.replace('["operator"]', "[]"), "one device must have the role operator, and 0 have it"),
        (GOOD.replace(KEY, "ssh-ed25519 AAAA"), "host_key is not a public key"),
        (GOOD.replace('"192.0.2.1"', '"-x"'), "host is not a host's name"),
        (f'soak = "1 year"\n{GOOD}', "soak: '1 year' is not a duration"),
    ],
)
def test_wrong_inventories_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert said in caught.value.message


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the inventory .*none\.toml: No such file"):
        inventory.load(tmp_path / "none.toml")
