from __future__ import annotations

import ipaddress

from agent.discovery import own_addresses


def test_loopback_is_used_only_when_it_is_chosen() -> None:
    assert "127.0.0.1" in own_addresses(["lo"])
    assert own_addresses(["127.0.0.1"]) == ["127.0.0.1"]
    assert not any(ipaddress.ip_address(a).is_loopback for a in own_addresses())


def test_an_interface_that_is_not_there_has_no_addresses() -> None:
    assert own_addresses(["nothing0"]) == []
