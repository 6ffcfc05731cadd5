"""Errors that cross the mesh: raised by a handler on one node, raised again by the call on another."""

from __future__ import annotations

from agent import errors
from agent.errors import EdgeError
from agent.mesh.wire import Failure

_KINDS: dict[str, type[EdgeError]] = {
    cls.__name__: cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, EdgeError)
}
_TAKEN = frozenset({"self", "message", "hint", "code"})
MAX_TEXT = 2000


def to_failure(error: EdgeError) -> Failure:
    """The error as a struct: its nearest class in errors.py, code, message, hint, and the fields with plain values."""
    kind = next(c.__name__ for c in type(error).__mro__ if c.__name__ in _KINDS)
    fields = {k: v for k, v in error.fields.items() if isinstance(v, str | int | float | bool | None)}
    if isinstance(error, errors.StepFailed):
        fields["final"] = error.final
    return Failure(kind, error.code, error.message[:MAX_TEXT], error.hint[:MAX_TEXT], fields)


def to_error(failure: Failure) -> EdgeError:
    """The error to raise for a failure that another node reported; an unknown class becomes EdgeError with its code."""
    kind = _KINDS.get(failure.kind, EdgeError)
    fields = {k: v for k, v in failure.fields.items() if k not in _TAKEN}
    final = fields.pop("final", False)
    message, hint, code = failure.message[:MAX_TEXT], failure.hint[:MAX_TEXT], failure.code[:64]
    if kind is errors.StepFailed:
        return errors.StepFailed(message, final=final is True, hint=hint, code=code, **fields)
    return kind(message, hint=hint, code=code, **fields)
