"""MAC addresses: the form that names a device, and the forms that are found in texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.mac import MAC_IN_TEXT, is_mac

octets = st.binary(min_size=6, max_size=6)


@given(octets)
def test_one_form_of_each_address_names_a_device(octets: bytes) -> None:
    name = octets.hex(":")
    assert is_mac(name)
    others = [octets.hex("-"), octets.hex(), name[:-1], name + ":00", name + "\n", f" {name}"]
    assert not any(map(is_mac, others))
    assert is_mac(name.upper()) == (name == name.upper())


@given(octets, st.sampled_from([":", "-", "."]), st.booleans(), st.sampled_from(["", " ", ": ", ".", "-", "x"]))
def test_every_form_is_found_in_a_text(octets: bytes, separator: str, upper: bool, after: str) -> None:
    text = octets.hex(separator, 2 if separator == "." else 1)
    text = text.upper() if upper else text
    found = MAC_IN_TEXT.search(f"station {text}{after}")
    assert found is not None
    assert found[0] == text


@pytest.mark.parametrize(
    "text", ["00:11:22:33:44:55:66", "0011:2233:4455", "00:11-22:33:44:55", "aabb.ccdd", "12:34:56"]
)
def test_other_numbers_are_not_addresses(text: str) -> None:
    assert MAC_IN_TEXT.search(text) is None
