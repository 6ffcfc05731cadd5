"""YAML 1.2 with positions: a bounded mapping, and errors that name line and column."""

from __future__ import annotations

import io
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from agent.errors import PipelineError

MAX_TEXT = 256 * 1024
MAX_VALUES = 10_000
"""Most values in one file, aliases counted each time they are used."""
MAX_DEPTH = 20


class YamlFile:
    """One file; `name` is for messages."""

    def __init__(self, name: str) -> None:
        self.name = name

    def parse(self, text: str) -> CommentedMap:
        """The mapping in `text`; raises PipelineError."""
        if len(text.encode(errors="replace")) > MAX_TEXT:
            self.fail(None, None, f"the file is larger than {MAX_TEXT >> 10} KiB", "split it into several pipelines")
        yaml = YAML(typ="rt", pure=True)
        yaml.version = (1, 2)
        yaml.allow_duplicate_keys = False
        yaml.max_depth = 5 * MAX_DEPTH  # without it, 1500 brackets take seconds
        yaml.composer.warn_double_anchors = False  # YAML lets an anchor be set again; ruamel would write to stderr
        try:
            doc = yaml.load(io.StringIO(text))
        except MaxDepthExceededError:
            self.fail(None, None, f"not YAML: more than {5 * MAX_DEPTH} in each other", "use fewer brackets")
        except MarkedYAMLError as e:
            mark = e.problem_mark or e.context_mark
            place = (mark.line, mark.column) if mark else (0, 0)
            hint = "check indentation, quotes and that no key is written twice"
            raise self._error(place, e.problem or "not YAML", hint) from None
        except (YAMLError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError) as e:
            # The parser raises these, without a place, for text that it cannot read at all.
            said = (str(e).splitlines() or ["not YAML"])[0]
            self.fail(None, None, f"not YAML: {said}", "save it as plain UTF-8 text with few brackets in each other")
        if not isinstance(doc, CommentedMap):
            self.fail(None, None, "a pipeline is a mapping", "start with `version: 1`")
        self._check_size(doc, [MAX_VALUES], 0)
        return doc

    def _check_size(self, value: Any, left: list[int], depth: int) -> None:
        """An alias may stand for many values, so they are counted before anything else reads them."""
        left[0] -= 1
        if left[0] < 0 or depth > MAX_DEPTH:
            self.fail(None, None, f"more than {MAX_VALUES} values, or {MAX_DEPTH} in each other", "use fewer aliases")
        if isinstance(value, dict | list | set | tuple):
            parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            for part in parts:
                self._check_size(part, left, depth + 1)

    def fail(self, mapping: CommentedMap | None, key: Any, message: str, hint: str) -> NoReturn:
        """Raise PipelineError at a key of the mapping, at the mapping where `key` is None, else at the start of the file."""
        raise self._error(place_of(mapping, key), message, hint, key=str(key or ""))

    def _error(self, place: tuple[int, int], message: str, hint: str, **fields: Any) -> PipelineError:
        line, column = place[0] + 1, place[1] + 1
        text = f"{self.name}:{line}:{column}: {message}"
        return PipelineError(text, hint=hint, file=self.name, line=line, column=column, **fields)


def place_of(mapping: CommentedMap | None, key: Any) -> tuple[int, int]:
    """Line and column, counted from 0, of a key, or of the mapping where the key is None or has no position."""
    if mapping is None:
        return 0, 0
    try:
        line, column = mapping.lc.key(key) if key is not None else (mapping.lc.line, mapping.lc.col)
    except (KeyError, TypeError):  # a merged key (`<<`) has no position
        line, column = mapping.lc.line, mapping.lc.col
    return line, column


def plain(value: Any) -> Any:
    """The value without ruamel's comments and positions."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, bool | type(None)):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return str(value)
