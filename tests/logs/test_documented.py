"""The messages of `log.read` are documented field by field."""

from __future__ import annotations

import msgspec
import pytest

from agent.logs import LogLine, LogLines, ReadRequest
from tests.mesh.test_protocol import tables


@pytest.mark.parametrize("kind", [LogLine, LogLines, ReadRequest])
def test_every_field_is_documented(kind: type[msgspec.Struct]) -> None:
    annotations = {field: kind.__annotations__[field] for field in kind.__struct_fields__}
    assert tables()[kind.__name__] == list(annotations.items())
