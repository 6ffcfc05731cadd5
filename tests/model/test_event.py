"""Events' ids."""

from __future__ import annotations

import hashlib
from base64 import b32encode

from hypothesis import given
from hypothesis import strategies as st

from agent.model.event import event_id


@given(st.lists(st.one_of(st.text(), st.integers(), st.binary())))
def test_event_id_is_base32_of_half_a_sha256(parts: list[str | int | bytes]) -> None:
    coded = b"".join(
        len(b).to_bytes(4, "big") + b for b in (p if isinstance(p, bytes) else str(p).encode() for p in parts)
    )
    wanted = b32encode(hashlib.sha256(coded).digest()[:16]).decode().rstrip("=").lower()
    assert event_id(*parts) == wanted


def test_event_id_stays_the_same_over_versions() -> None:
    assert event_id("stream", 107, "pipeline", "wifi", 0) == "bhcnaxpucfjthml4zlfiz56l5e"
