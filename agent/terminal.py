"""A program on a terminal: errors in words with an exit code, and text that every terminal can show."""

from __future__ import annotations

import codecs
import errno
import inspect
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from agent.errors import ConfigError, EdgeError, NotFound

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and those that change the direction of writing."""
_SIMPLE = {
    "✓": "+", "✗": "x", "●": "*", "○": "o", "→": ">", "←": "<", "…": ".", "·": "-", "–": "-", "—": "-", "‖": "|", "█": "#",
    "▒": ":", "░": ".", "▓": "%", "×": "x", "“": '"', "”": '"', "’": "'", "≥": ">", "≤": "<",
}  # fmt: skip
"""Signs of our output for terminals that do not have them, as wide as they are."""
_EXTRAS = {
    "postgres": ("psycopg",),
    "camera": ("cv2", "numpy"),
    "detector": ("onnxruntime", "ai_edge_litert", "onnx"),
    "demo": ("skimage", "pooch", "ziglang"),
    "sink": (
        "sqlalchemy", "fastapi", "alembic", "jinja2", "sse_starlette", "slack_sdk", "aiohttp", "apprise", "argon2",
        "prometheus_client", "multipart", "python_multipart", "PIL",
    ),
}  # fmt: skip
"""The modules that each extra of the package installs."""
_HINTS = {
    errno.EACCES: "check its owner and mode, or run this as a user who may use it",
    errno.EPERM: "run this as a user who may do it",
    errno.ENOSPC: "free space on that disk",
    errno.EDQUOT: "free space: the quota of this user is used up",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a file is where a folder has to be: check the path",
    errno.EEXIST: "a file is where a folder has to be: check the path",
    errno.EISDIR: "a folder is where a file has to be: check the path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


def plain(text: str) -> str:
    """The text without control sequences: names, log lines and errors may come from another node."""
    return _CONTROL.sub("\ufffd", text)


def run_program(name: str, program: Callable[[], object], *, debug: str = "EDGE_AGENT_DEBUG") -> None:
    """Run the command line and exit; errors are printed as message, hint and code, never as a traceback.

    With the environment variable `debug` an unexpected error is raised.
    """
    show_everywhere()
    try:
        program()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as e:
        error = as_error(_first(e), name, debug)
        if error.code == "internal" and os.environ.get(debug):
            raise
        report(error)
        sys.exit(error.exit_code)


def run_app(name: str, app: Any, arguments: list[str] | None = None, *, debug: str = "EDGE_AGENT_DEBUG") -> None:
    """Run a typer with its arguments and exit, as `run_program` does; wrong use is an error in the same form."""
    import typer
    from typer._click.exceptions import ClickException, NoArgsIsHelpError

    def program() -> None:
        try:
            code = flow_help(typer.main.get_command(app)).main(args=arguments, prog_name=name, standalone_mode=False)
        except NoArgsIsHelpError as e:
            e.show()
            sys.exit(e.exit_code)
        except typer.Abort:
            print("nothing was done", file=sys.stderr)
            sys.exit(1)
        except ClickException as e:
            path = context.command_path if (context := getattr(e, "ctx", None)) else name
            text = e.format_message().rstrip(".")
            raise ConfigError(
                text[:1].lower() + text[1:], hint=f"{path} -h shows how it is used", code="cli.usage"
            ) from None
        sys.exit(code if isinstance(code, int) else 0)

    run_program(name, program, debug=debug)


def flow_help(command: Any) -> Any:
    """The command with the lines of each paragraph of its help joined, so that they break where the terminal ends."""
    if command.help:
        paragraphs = inspect.cleandoc(command.help).split("\n\n")
        command.help = "\n\n".join(p if "\n " in p else p.replace("\n", " ") for p in paragraphs)
    for inner in getattr(command, "commands", {}).values():
        flow_help(inner)
    return command


def as_error(error: BaseException, program: str, debug: str) -> EdgeError:
    """The error in the form that a user sees."""
    if isinstance(error, EdgeError):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name and (extra := extra_of(error.name)):
        return missing(program, error.name, extra)
    if isinstance(error, OSError) and error.strerror:
        what = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        hint = _HINTS.get(error.errno or 0, "see what the system says about it")
        return EdgeError(f"{what}{error.strerror}", hint=hint, code="system")
    if isinstance(error, UnicodeError):
        what = "a word of this command" if isinstance(error, UnicodeEncodeError) else "the input"
        return ConfigError(f"{what} is not valid text", hint="write it in UTF-8")
    return EdgeError(
        f"internal error in {program}: {type(error).__name__}: {error}", hint=f"{debug}=1 shows where; please report it"
    )


def extra_of(module: str) -> str:
    """The extra of the package that installs this module; empty for any other."""
    return next((extra for extra, modules in _EXTRAS.items() if module.partition(".")[0] in modules), "")


def missing(program: str, module: str, extra: str) -> NotFound:
    """The error of a program whose extra is not installed."""
    return NotFound(
        f"{program} needs {module}, which is not installed",
        hint=f"pip install 'edge-agent[{extra}]', or in a checkout pip install '.[{extra}]'",
        code="not-installed",
    )


def report(error: EdgeError) -> None:
    """Print an error on stderr: as JSON when --json was asked for, else message, hint and code."""
    if "--json" in sys.argv:
        print(json.dumps({"error": error.to_dict()}, default=str), file=sys.stderr)
        return
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    red, dim, off = ("\033[1;31m", "\033[2m", "\033[0m") if colour else ("", "", "")
    print(f"{red}error:{off} {plain(error.message)} {dim}[{plain(error.code)}]{off}", file=sys.stderr)
    if error.hint:
        print(f" hint: {plain(error.hint)}", file=sys.stderr)


def show_everywhere() -> None:
    """Let stdout and stderr replace what their encoding does not have, instead of failing."""
    codecs.register_error("edge-agent", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="edge-agent")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_SIMPLE.get(c, "?") for c in error.object[error.start : error.end]), error.end


def _first(error: BaseException) -> BaseException:
    """The error to show of a group: the first that a user may see, else the first of the system, else the first."""
    found = list(_leaves(error))
    for kind in (EdgeError, OSError):
        for leaf in found:
            if isinstance(leaf, kind):
                return leaf
    return found[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for part in error.exceptions:
        yield from _leaves(part)
