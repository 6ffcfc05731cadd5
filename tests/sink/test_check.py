"""What the decoder of alerts lets through and what it refuses."""

from __future__ import annotations

import pytest

from agent.errors import Refused
from cloud_sink.ingest.check import decode_alert
from cloud_sink.settings import Limits
from tests.sink.running import encode, unsigned


@pytest.mark.parametrize("text", [r"\u0000", r"a\\u0000", r"\\\u0000"])
def test_a_text_that_only_spells_a_nul_is_taken(text: str) -> None:
    assert decode_alert(encode(unsigned("m", "n", text=text)), Limits()).event.data["text"] == text


@pytest.mark.parametrize("text", ["\0", "\\\0", "\\\\\0", r"\u0000" + "\0"])
def test_a_text_with_a_nul_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="NUL"):
        decode_alert(encode(unsigned("m", "n", text=text)), Limits())
