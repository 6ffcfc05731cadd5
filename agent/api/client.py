"""A client of the local API: HTTP on its unix socket; errors of the agent are raised here again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from agent.errors import ConfigError, EdgeError, Refused, Unreachable

T = TypeVar("T")
CHUNK = 1 << 20


class RemoteError(EdgeError):
    """An error that the agent answered with: its code, message, hint and exit code."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        told = {"message": "the agent failed", "code": "internal", "exit_code": 1, **error}
        self.exit_code = int(told.pop("exit_code"))
        super().__init__(told.pop("message"), **told)


class Client:
    """One connection to the agent behind `socket`; use it as a context manager."""

    def __init__(self, socket: Path, *, timeout: float = 60.0) -> None:
        self.socket = socket
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.socket)),
            base_url="http://agent",
            timeout=httpx.Timeout(timeout, connect=5.0),
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON of a GET; parameters that are None or False are left out."""
        return self._ask("GET", path, params=_parameters(parameters))

    def post(self, path: str, value: Mapping[str, Any] | None = None) -> Any:
        """The JSON of a POST with a JSON body."""
        return self._ask("POST", path, json=dict(value or {}))

    def post_packed(self, path: str, value: Mapping[str, Any]) -> Any:
        """The JSON of a POST with a msgpack body, for values that hold bytes."""
        headers = {"content-type": "application/msgpack"}
        return self._ask("POST", path, content=msgspec.msgpack.encode(value), headers=headers)

    def delete(self, path: str) -> Any:
        """The JSON of a DELETE."""
        return self._ask("DELETE", path)

    def upload(self, path: str, file: BinaryIO) -> Any:
        """The JSON of a POST of a file's bytes."""
        return self._ask("POST", path, content=iter(lambda: file.read(CHUNK), b""))

    def download(self, path: str, out: BinaryIO) -> int:
        """Write the body of a GET to a file; returns its size."""
        size = 0
        with self._errors(), self._http.stream("GET", path) as response:
            _raise_for(response)
            for chunk in response.iter_bytes(CHUNK):
                size += out.write(chunk)
        return size

    def stream(self, path: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """The rows of a stream; heartbeats are skipped, an error row is raised.

        Raises Unreachable also where a stream without an end (`follow`, `watch`) ends: the agent is stopping.
        """
        with self._errors(), self._http.stream("GET", path, params=_parameters(parameters)) as response:
            _raise_for(response)
            for line in response.iter_lines():
                if not line.strip():
                    continue
                row = _decoded(line)
                if isinstance(row.get("error"), dict) and "specversion" not in row:
                    raise RemoteError(row["error"])
                yield row
        if parameters.get("follow") or parameters.get("watch"):
            raise Unreachable("the agent stopped", hint="ask again when it is back", code="agent.absent")

    def _ask(self, method: str, path: str, **arguments: Any) -> Any:
        with self._errors():
            response = self._http.request(method, path, **arguments)
            _raise_for(response)
            return _decoded(response.content)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as e:
            if "Permission denied" in str(e):
                raise Refused(
                    f"you have no access to the agent at {self.socket}",
                    hint="use sudo, or join its group: sudo usermod -aG edge-agent $USER",
                    code="api.denied",
                ) from None
            raise Unreachable(
                f"no agent answers at {self.socket}",
                hint="start one with edge-agent serve, or name its socket with --socket",
                code="agent.absent",
            ) from None
        except httpx.TimeoutException:
            raise Unreachable(
                "the agent did not answer in time", hint="is it busy? try again", code="agent.slow"
            ) from None
        except httpx.TransportError as e:
            raise Unreachable(
                f"the agent closed the connection: {e}", hint="is it stopping?", code="agent.absent"
            ) from None


def read(answer: Any, kind: type[T]) -> T:
    """An answer as its struct of `agent.api.results`; raises EdgeError where it is of another version of the agent."""
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as e:
        raise _strange(e) from None


def _decoded(answer: bytes | str) -> Any:
    try:
        return msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeError) as e:
        raise _strange(e) from None


def _strange(why: Exception) -> EdgeError:
    hint = "is the running agent of the same version?"
    return EdgeError(f"the agent's answer cannot be decoded: {why}", hint=hint, code="api.request")


def path_of(*parts: str) -> str:
    """A path of the API with each part quoted; raises ConfigError for a part that cannot be a name."""
    for part in parts:
        if part in ("", ".", ".."):
            raise ConfigError(f"{part!r} is not a name", hint="give the name or the id")
    return "/v1/" + "/".join(quote(p, safe="") for p in parts)


def _parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {k: 1 if v is True else v for k, v in parameters.items() if v is not None and v is not False}


def _raise_for(response: httpx.Response) -> None:
    if response.is_success:
        return
    response.read()
    try:
        error = msgspec.json.decode(response.content)["error"]
    except (msgspec.DecodeError, KeyError, TypeError):
        if response.status_code == 503:
            raise Unreachable(
                "the agent has too many callers at once", hint="try again in a moment", code="agent.slow"
            ) from None
        error = {"message": f"the agent answered {response.status_code}", "hint": "its log may say more"}
    raise RemoteError(error)
