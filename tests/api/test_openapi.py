"""The application does what its OpenAPI document says, for any request."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from starlette.types import Receive, Scope, Send

from agent.api import make_app, openapi, results
from agent.api.peer import Peer
from agent.api.route import Route
from agent.api.routes import ROUTES
from agent.config import Config
from agent.delivery import ENDS
from tests.api.memory import MemoryAgent

load_all_checks()
CHECKED = CHECKS.get_by_names(["response_schema_conformance", "content_type_conformance", "status_code_conformance"])


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The document of an application whose streams end at once."""
    app = make_app(MemoryAgent(Config(state=tmp_path_factory.mktemp("state"))).resources)
    app.state.closing.event.set()

    async def by_this_user(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["peer"] = Peer(1, os.geteuid(), os.getegid())
        await app(scope, receive, send)

    loaded = schemathesis.openapi.from_dict(openapi.document(ROUTES))
    loaded.app = by_this_user
    loaded.config.update(base_url="http://agent")
    return loaded


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.path}")
@settings(max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_answers_are_those_of_the_document(route: Route, schema: Any, data: Any) -> None:
    case = data.draw(schema[route.path][route.method].as_strategy())
    if case.media_type == "application/msgpack":
        case.media_type = "application/json"
    answer = case.call()
    case.validate_response(answer, checks=CHECKED)
    if answer.status_code >= 400:
        assert msgspec.json.decode(answer.content, type=results.Failed).error.code != "internal"


def test_ends_of_a_step_are_those_of_the_journal() -> None:
    assert results.Ends.__struct_fields__ == ENDS


def test_a_field_that_a_struct_lacks_is_an_error() -> None:
    with pytest.raises(TypeError):
        results.Id(ident="x")  # type: ignore[call-arg]


def test_every_route_is_in_the_document_once() -> None:
    paths = openapi.document(ROUTES)["paths"]
    assert sum(len(methods) for methods in paths.values()) == len(ROUTES)
    names = [o["operationId"] for methods in paths.values() for o in methods.values()]
    assert len(set(names)) == len(names)
