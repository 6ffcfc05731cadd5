from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from agent.discovery.found import MAX_HOSTS, Found, properties, read

_ids = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=20, max_size=20)
_ports = st.integers(1, 65535)
_found = st.builds(
    Found,
    mesh=_ids,
    node=_ids,
    name=st.text(string.ascii_lowercase, min_size=1, max_size=40),
    hosts=st.lists(st.ip_addresses().map(str), min_size=1, max_size=MAX_HOSTS).map(tuple),
    port=_ports,
    enrol_port=_ports,
    version=st.sampled_from(["", "0.1.0", "1.2.3-rc.1+x"]),
)


def _txt(found: Found) -> dict[bytes, bytes | None]:
    return {k.encode(): v.encode() for k, v in properties(found).items()}


@given(_found)
def test_an_announcement_is_read_as_it_was_written(found: Found) -> None:
    assert read(_txt(found), found.hosts) == found


@given(
    _found, st.sampled_from(["mesh", "node", "name", "port", "enrol", "version"]), st.none() | st.binary(max_size=80)
)
def test_a_field_that_is_wrong_gives_nothing_or_something_sound(found: Found, key: str, value: bytes | None) -> None:
    got = read(_txt(found) | {key.encode(): value}, found.hosts)
    assert got is None or read(_txt(got), got.hosts) == got


@given(st.dictionaries(st.binary(max_size=10), st.none() | st.binary(max_size=300)), st.lists(st.text(max_size=20)))
def test_garbage_is_nothing(txt: dict[bytes, bytes | None], addresses: list[str]) -> None:
    assert read(txt, addresses) is None


def test_link_local_addresses_mean_nothing_and_hosts_are_limited() -> None:
    found = Found(mesh="a" * 20, node="b" * 20, name="hall", hosts=(), port=1, enrol_port=2)
    assert read(_txt(found), ["fe80::1%eth0"]) is None
    many = [f"10.0.0.{n}" for n in range(50)]
    got = read(_txt(found), many)
    assert got is not None
    assert len(got.hosts) == MAX_HOSTS


def test_addresses_carry_the_ports() -> None:
    found = Found(mesh="a" * 20, node="b" * 20, name="hall", hosts=("10.0.0.1", "fd00::1"), port=1, enrol_port=2)
    assert found.host == "10.0.0.1"
    assert found.mesh_addresses == ["10.0.0.1:1", "[fd00::1]:1"]
    assert found.enrol_addresses == ["10.0.0.1:2", "[fd00::1]:2"]
