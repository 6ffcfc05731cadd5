"""`edge-agent filter try`."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import shared
from agent.cli import filter_module
from agent.errors import NotFound
from tests.cli.conftest import Result, Shell
from tests.filters.conftest import filters

__all__ = ["filters"]

JOIN = "Mar  4 09:10:11 attic hostapd: wlan0: AP-STA-CONNECTED 02:00:00:00:00:01 auth_alg=sae"


@pytest.fixture
def plain(filters: Path) -> Path:
    """A filter without --explain."""
    return filters / "wifi-join-zig.wasm"


async def test_a_filter_without_explain_shows_its_events(alone: Shell, plain: Path) -> None:
    shown = await alone("filter", "try", "--module", str(plain), JOIN, "sshd: AP-STA-CONNECTED 02:00:00:00:00:01")
    assert shown.code == 0
    assert "this filter has no --explain" in shown.out
    assert "wifi.client.joined" in shown.out
    assert "2 lines, 1 with an event" in shown.out
    asked = await alone("filter", "try", "--module", str(plain), "--suggest", "no event")
    assert (asked.code, "has no --explain" in asked.err) == (2, True)


async def test_each_line_shows_its_parts_its_form_and_its_event(alone: Shell, filters: Path) -> None:
    shown = await alone("filter", "try", JOIN, "Mar  4 09:10:12 attic wlctl: nothing here", "\udcff\udcfe x")
    assert shown.code == 0
    for part in (
        "host attic",
        "program hostapd",
        "form     hostapd",
        "wifi.client.joined",
        "interface wlan0",
        "no form is for",
    ):
        assert part in shown.out
    assert "3 lines, 1 with an event" in shown.out
    first, second, _ = (await alone("filter", "try", "--json", JOIN, "a wlctl: b", "c d")).json["lines"]
    assert (first["form"], first["split"]["program"], first["event"]["access_point"]) == ("hostapd", "hostapd", "attic")
    assert first["event"]["data"] == {"mac": "02:00:00:00:00:01", "interface": "wlan0", "auth": "sae"}
    assert (second["form"], second["event"], bool(second["reason"])) == ("", None, True)


async def test_arguments_and_forms_go_to_the_filter(alone: Shell, filters: Path) -> None:
    dhcp = "Mar  4 09:10:11 hall dnsmasq-dhcp[1]: DHCPACK(br-lan) 192.168.1.132 02:00:00:00:00:01 phone"
    assert (await alone("filter", "try", dhcp)).code == 1
    assert (await alone("filter", "try", "--arg", "--dhcp", dhcp)).code == 0
    form = "left:wlctl: {mac} is gone"
    shown = await alone(
        "filter", "try", "--form", form, "Mar  4 09:10:11 hall wlctl: 02:00:00:00:00:01 is gone", "--json"
    )
    assert shown.json["lines"][0]["event"]["type"] == "wifi.client.left"
    assert shown.json["arguments"] == ["--form", form]
    wrong = await alone("filter", "try", "--form", "joined: nobody", JOIN)
    assert (wrong.code, "has no {mac}" in wrong.err, "check --arg and --form" in wrong.err) == (1, True, True)


async def test_forms_and_reasons_of_many_lines_are_counted(alone: Shell, filters: Path) -> None:
    shown = await alone("filter", "try", "-", input=f"{JOIN}\n" * 12 + "a b: c\n" * 3)
    last = [line.split(maxsplit=1) for line in shown.out.splitlines()[-3:]]
    assert last[0] == ["12", "hostapd"]
    assert last[1][0] == "3"
    assert " ".join(last[2]) == "15 lines, 12 with an event"


async def test_a_line_too_long_for_the_filter_says_so(alone: Shell, filters: Path) -> None:
    long = b"x" * 300_000 + b"\n"
    lines = (await alone("filter", "try", "--json", "-", input=long + JOIN.encode())).json["lines"]
    assert [bool(line["event"]) for line in lines] == [False, True]
    assert "too long" in lines[0]["reason"]


UNKNOWN = """\
Mar  4 09:10:11 attic wlctl[77]: station 02:00:00:00:00:01 came online on wl0, rssi -61, 3 clients
Mar  4 09:15:40 attic wlctl[77]: station 02:00:00:00:00:02 came online on wl1, rssi -48, 4 clients
Mar  4 09:20:02 attic wlctl[77]: station 02:00:00:00:00:02 went offline
"""


async def test_a_form_is_proposed_and_verified(alone: Shell, filters: Path) -> None:
    form = "joined:wlctl: station {mac} came online on {interface}{rest}"
    made = (await alone("filter", "try", "--suggest", "--json", "-", input=UNKNOWN)).json["suggestion"]
    assert made == {
        "line": 1, "mac": "02:00:00:00:00:01", "event": "joined", "form": form, "verified": True, "sure": True, "reason": "",
        "others": 1,
    }  # fmt: skip
    shown = await alone("filter", "try", "--suggest", "-", input=UNKNOWN)
    assert f"--form '{form}'" in shown.out
    assert "with it the line gives wifi.client.joined of 02:00:00:00:00:01" in shown.out
    assert (await alone("filter", "try", "--form", form, "-", input=UNKNOWN)).code == 0


async def test_the_user_says_which_device_and_what_happened(alone: Shell, filters: Path) -> None:
    line = "Mar  4 09:10:11 attic wlctl: 02:00:00:00:00:0a tells 02:00:00:00:00:01 is away"
    several = await alone("filter", "try", "--suggest", line)
    assert (several.code, "--mac MAC" in several.err) == (2, True)
    made = (await alone("filter", "try", "--json", "--mac", "02-00-00-00-00-01", "--event", "left", line)).json[
        "suggestion"
    ]
    assert (made["form"], made["verified"]) == ("left:wlctl: {skip} tells {mac} is away", True)
    assert (await alone("filter", "try", "--suggest", "--event", "gone", line)).code == 2
    assert "no form is needed" in (await alone("filter", "try", "--suggest", JOIN)).err


@pytest.mark.parametrize("head", ["", "Mar  4 09:10:11 ", "Mar  4 09:10:11 gate "])
@pytest.mark.parametrize("tag", ["", ":"])
async def test_a_line_may_begin_with_the_mac(alone: Shell, filters: Path, head: str, tag: str) -> None:
    shown = await alone("filter", "try", "--json", "--suggest", f"{head}02:00:00:00:00:01{tag} joined wlan0")
    made = shown.json["suggestion"]
    assert (made["form"], made["verified"]) == (f"joined:{{mac}}{tag} joined {{interface}}", True)


async def test_switches_of_the_filter_are_options(alone: Shell, filters: Path) -> None:
    lease = "dnsmasq-dhcp[1]: DHCPACK(br-lan) 192.168.1.2 02:00:00:00:00:01"
    own = "hostapd: wlan0: STA 02:00:00:00:00:01 IEEE 802.11: associated"
    assert (await alone("filter", "try", lease, own)).code == 1
    both = (await alone("filter", "try", "--json", "--dhcp", "--logger", lease, own)).json
    assert both["arguments"] == ["--dhcp", "--logger"]
    assert [line["event"]["type"] for line in both["lines"]] == ["wifi.client.joined"] * 2


async def test_a_form_that_the_filter_cannot_use_is_not_verified(alone: Shell, filters: Path) -> None:
    shown = await alone("filter", "try", "--suggest", "--event", "joined", "Mar  4 09:10:11 a b: 02:00:00:00:00:01 x")
    assert (shown.code, "the filter does not find the event with it" in shown.out) == (1, True)


async def test_lines_come_from_words_files_and_stdin(alone: Shell, plain: Path, tmp_path: Path) -> None:
    (tmp_path / "ap.log").write_bytes(b"\xff noise\r\n" + JOIN.encode())
    shown = await alone("filter", "try", "--json", "--module", str(plain), "ap.log", "-", JOIN, input=f"{JOIN}\n\n")
    lines = shown.json["lines"]
    assert [line["event"] is not None for line in lines] == [False, True, True, False, True]
    assert [line["line"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[0]["text"] == "� noise"
    assert lines[1]["event"]["data"] == {"mac": "02:00:00:00:00:01", "interface": "wlan0", "auth": "sae"}


async def test_no_event_ends_with_1(alone: Shell, plain: Path) -> None:
    assert (await alone("filter", "try", "--module", str(plain), "quiet here")).code == 1
    assert (await alone("filter", "try", "--module", str(plain), "-")).code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/var/log/not-there",), "there is no file /var/log/not-there"),
        ((".",), "cannot be read"),
        (("--suggest", "-"), "there is no line"),
        (("",), "an empty word"),
        (("--module", "not-there.wasm", "a line"), "there is no module not-there.wasm"),
    ],
)
async def test_a_mistake_is_a_clear_error(alone: Shell, filters: Path, arguments: tuple[str, ...], said: str) -> None:
    shown: Result = await alone("filter", "try", *arguments)
    assert (shown.code, said in shown.err) == (2, True)
    assert "hint:" in shown.err


def test_a_filter_that_is_not_built_says_how(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shared, "HERE", tmp_path / "agent")
    with pytest.raises(NotFound, match="no program edge/wifi-join comes with this agent") as raised:
        filter_module.module_file("edge/wifi-join")
    assert "setup.py demo builds them" in raised.value.hint


async def test_a_file_that_is_no_filter_is_a_clear_error(alone: Shell, tmp_path: Path) -> None:
    (tmp_path / "not.wasm").write_text("hello")
    shown = await alone("filter", "try", "--module", "not.wasm", "a line")
    assert (shown.code, "internal" in shown.err, "[wasm.invalid]" in shown.err) == (1, False, True)
