"""The ingest interface keeps its OpenAPI schema, checked with generated requests."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error

from tests.sink.running import Caller


@schemathesis.serializer("application/msgpack")
def as_msgpack(_context: Any, value: Any) -> bytes:
    """A generated request, as the bytes that the interface reads."""
    try:
        return msgspec.msgpack.encode(value)
    except OverflowError:  # msgpack has no such numbers
        return msgspec.msgpack.encode(repr(value))


@pytest.fixture(scope="session")
def schema(sink: Caller) -> Any:
    loaded = schemathesis.openapi.from_dict(sink.http.get("/v1/openapi.json").json())
    loaded.config.update(base_url=str(sink.http.base_url))
    return loaded


@pytest.mark.parametrize("path", ["/v1/hello", "/v1/alerts", "/v1/status"])
@settings(max_examples=10, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_generated_requests_are_answered_within_the_contract(path: str, schema: Any, sink: Caller, data: Any) -> None:
    case = data.draw(schema[path]["POST"].as_strategy())
    certificate = str(sink.data / "tls" / "certificate.pem")
    answer = case.call(headers={"authorization": f"Bearer {sink.key}"}, verify=certificate)
    case.validate_response(answer, checks=[not_a_server_error])
    assert answer.status_code in (200, 401, 403, 408, 413, 422, 429)


def test_schema_names_every_route(schema: Any) -> None:
    assert sorted(schema.raw_schema["paths"]) == ["/v1/alerts", "/v1/hello", "/v1/status"]
