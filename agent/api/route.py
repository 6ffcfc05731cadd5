"""One route of the local API, as the table of routes has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from agent.api.resources import Resources

if TYPE_CHECKING:
    from starlette.requests import Request

Q = TypeVar("Q")
A = TypeVar("A")

MAX_BODY = 1 << 20
"""Largest request body in bytes, where a route does not say otherwise."""


@dataclass(frozen=True)
class Route(Generic[Q, A]):
    """A method and a path, the struct of what is asked and of the answer, and the resource's method that answers.

    `asked` is the query of a GET and the body of other requests. `call` and `rows` get the resources, the parameter of the
    path ("" where there is none) and what is asked. `rows`, where it gives some, are streamed instead of one answer. `raw`
    takes the request itself: for bodies that are no struct.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    asked: type[Q]
    answer: type[A]
    text: str
    call: Callable[[Resources, str, Q], Awaitable[A]] | None = None
    rows: Callable[[Resources, str, Q], AsyncIterator[A] | None] | None = None
    raw: Callable[[Resources, str, Request], Awaitable[Any]] | None = None
    limit: int = MAX_BODY
    reads: bool = False

    @property
    def operators(self) -> bool:
        """Whether only root, the agent's user and the operators' group may use it: a POST or DELETE that changes something."""
        return self.method != "GET" and not self.reads
