"""One route of the local API, as the table of routes has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from agent.api.requests import Nothing
from agent.api.resources import Resources

MAX_BODY = 1 << 20
"""Largest request body in bytes, where a route does not say otherwise."""

_RESOURCES = {f.type: f.name for f in fields(Resources)}


@dataclass(frozen=True)
class Route:
    """A method and a path, the structs of the request and of the answer, and the function that answers.

    `asked` is the query of a GET and the body of other requests. `call` gets the resources, the parameters of the path and,
    except for Nothing, the request's struct; with `raw` the request itself instead: for bodies without a struct. It gives one
    answer (`whole`), rows for a stream (`rows`), or one of both.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    call: Callable[..., Any]
    text: str
    answer: Any
    asked: type = Nothing
    whole: bool = True
    rows: bool = False
    raw: bool = False
    limit: int = MAX_BODY
    reads: bool = False

    @property
    def operators(self) -> bool:
        """Whether only root, the agent's user and the operators' group may use it: a POST or DELETE that changes something."""
        return self.method != "GET" and not self.reads


def route(
    method: Literal["GET", "POST", "DELETE"], path: str, call: Callable[..., Any], text: str, **options: Any
) -> Route:
    """The route that a method of a resource answers; its annotations give the structs of request and answer.

    Its parameters are those of the path, then the struct of the request; its result is an answer, an iterator of rows,
    or `Awaitable[answer] | AsyncIterator[answer]`.
    """
    resource = _RESOURCES[call.__qualname__.partition(".")[0]]
    kinds = get_type_hints(call)
    made = kinds.pop("return")
    forms = get_args(made) if isinstance(made, UnionType) else (made,)
    origins = [get_origin(f) for f in forms]
    rows = AsyncIterator in origins
    return Route(
        method,
        path,
        lambda resources, *asked: getattr(getattr(resources, resource), call.__name__)(*asked),
        text,
        answer=get_args(forms[0])[0] if rows else made,
        asked=next((k for k in kinds.values() if issubclass(k, msgspec.Struct)), Nothing),
        whole=not rows or Awaitable in origins,
        rows=rows,
        **options,
    )
