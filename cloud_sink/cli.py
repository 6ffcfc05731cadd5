"""`edge-sink`: run the sink, and manage its keys and users."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from agent.errors import ConfigError, NotFound
from agent.files import write_private
from agent.terminal import run_app
from cloud_sink.files import private_folder
from cloud_sink.settings import Settings

if TYPE_CHECKING:
    from cloud_sink.notify import Channel
    from cloud_sink.server import Ready
    from cloud_sink.store import Access

app = typer.Typer(
    help="The cloud sink: stores the alerts of buildings, shows them on a page, and posts them to Slack.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong option or setting, 4 database not reachable, 6 not found.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
key_app = typer.Typer(help="Keys that buildings use to send alerts. One key for each building.", no_args_is_help=True)
user_app = typer.Typer(help="People who may look at the page.", no_args_is_help=True)
app.add_typer(key_app, name="key")
app.add_typer(user_app, name="user")

Data = Annotated[
    Path, typer.Option("--data", envvar="EDGE_SINK_DATA", help="Folder of certificate, photos and the SQLite file.")
]
Db = Annotated[
    str,
    typer.Option(
        "--db",
        envvar="EDGE_SINK_DB",
        help="Database URL, `postgresql://…`; default: SQLite in DATA. Pass a URL with a password by the environment.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DATA = Path("/var/lib/edge-sink")
ADDRESS = "address"
"""File in the data folder with the address that the last start of the sink printed."""


def _version(wanted: bool) -> None:
    if wanted:
        from agent import __version__

        typer.echo(f"edge-sink {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """The cloud sink: stores the alerts of buildings, shows them on a page, and posts them to Slack."""


@app.command("serve")
def serve_command(
    host: Annotated[str, typer.Option(envvar="EDGE_SINK_HOST", help="Address to listen on.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[
        int, typer.Option(envvar="EDGE_SINK_PORT", min=0, max=65535, help="Port; 0 takes a free port.")
    ] = 8443,
    data: Data = DATA,
    db: Db = "",
    url: Annotated[
        str,
        typer.Option(
            envvar="EDGE_SINK_URL", help="URL that buildings and browsers use, if it differs from host and port."
        ),
    ] = "",
    keep: Annotated[
        int, typer.Option(envvar="EDGE_SINK_KEEP", min=0, help="Delete alerts after this number of days; 0 keeps all.")
    ] = 0,
    mqtt: Annotated[
        str,
        typer.Option(
            envvar="EDGE_SINK_MQTT", help="Also take alerts from a broker: `mqtts://USER@HOST:PORT#sha256=…`."
        ),
    ] = "",
    mqtt_password_file: Annotated[
        Path | None, typer.Option(envvar="EDGE_SINK_MQTT_PASSWORD_FILE", help="File with the broker's password.")
    ] = None,
    slack_channel: Annotated[
        str, typer.Option(envvar="EDGE_SINK_SLACK_CHANNEL", help="Channel id (`C…`) that alerts are posted to.")
    ] = "",
    slack_token_file: Annotated[
        Path | None,
        typer.Option(envvar="EDGE_SINK_SLACK_TOKEN_FILE", help="File with the bot token; or EDGE_SINK_SLACK_TOKEN."),
    ] = None,
    slack_api: Annotated[str, typer.Option(envvar="EDGE_SINK_SLACK_API", hidden=True)] = "",
    apprise_file: Annotated[
        Path | None,
        typer.Option(
            envvar="EDGE_SINK_APPRISE_FILE", help="File with Apprise URLs, one per line, to notify other services."
        ),
    ] = None,
    notices: Annotated[
        str,
        typer.Option(
            envvar="EDGE_SINK_NOTICES",
            help="Also tell the begin and the end of warnings: `on` for nodes, cameras, logs and buildings that are gone, "
            "codes of docs/errors.md, or `on,CODE,…`; `off` by default.",
        ),
    ] = "off",
    packages: Annotated[
        Path | None,
        typer.Option(
            envvar="EDGE_SINK_PACKAGES",
            help="Folder of a release that new devices install from; default: DATA/packages.",
        ),
    ] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option(help="When ready, write address, pin, key file and login link to this file as JSON (0600)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the sink.

    The first start makes a certificate, a key and the user `owner`. It prints the command for the building, the key, and
    a link that logs you in once. Without a terminal the key is only in DATA/first.key. SIGTERM or Ctrl-C stops the sink.

    Examples:

    * `edge-sink serve --data ./sink --port 8443`

    * `EDGE_SINK_SLACK_TOKEN=xoxb-… edge-sink serve --slack-channel C0123456789`

    * `edge-sink serve --apprise-file ./urls --notices on,disk.full`
    """
    # Imported here because `key` and `user` need no web server.
    from cloud_sink.ingest.mqtt import parse_broker
    from cloud_sink.notify import parse_notices
    from cloud_sink.server import Extras, serve

    _log_to_stderr()
    codes = parse_notices(notices)
    settings = Settings(
        data=data, host=host, port=port, public=url, database=db, keep=keep, notices=codes, packages=packages
    )
    extras = Extras(
        broker=parse_broker(mqtt) if mqtt else None,
        broker_password=_secret(mqtt_password_file, "EDGE_SINK_MQTT_PASSWORD"),
        channels=_channels(slack_channel, slack_token_file, slack_api, url, apprise_file),
    )
    if codes and not extras.channels:
        raise ConfigError("--notices needs a service", hint="set --slack-channel or --apprise-file, or --notices off")

    def ready(facts: Ready, new_key: str) -> None:
        facts = msgspec.structs.replace(facts, pid=os.getpid())
        write_private(data.absolute() / ADDRESS, facts.url.encode())
        if ready_file is not None:
            write_private(ready_file.absolute(), msgspec.json.encode(facts))
        _announce(facts, new_key, as_json)

    _folder(data)
    asyncio.run(serve(settings, ready, extras=extras, login_link=ready_file is not None))


def _channels(
    slack_channel: str, token_file: Path | None, slack_api: str, page: str, apprise_file: Path | None
) -> list[Channel]:
    channels: list[Channel] = []
    if slack_channel:
        token = _secret(token_file, "EDGE_SINK_SLACK_TOKEN")
        if not token:
            raise ConfigError("Slack needs the bot's token", hint="set --slack-token-file or EDGE_SINK_SLACK_TOKEN")
        from cloud_sink.notify.slack import API, Slack

        channels.append(Slack(token, slack_channel, page=page, api=slack_api or API))
    if apprise_file is not None:
        from cloud_sink.notify.others import read_others

        channels += read_others(apprise_file)
    return channels


def _secret(file: Path | None, variable: str) -> str:
    """A secret from its file, else from the environment: every user of the machine can read arguments."""
    if file is None:
        return os.environ.get(variable, "").strip()
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "it is not text"
        raise ConfigError(f"{file} cannot be read: {why}", hint="give a file with nothing else in it") from e


def _announce(facts: Ready, new_key: str, as_json: bool) -> None:
    if as_json:
        shown = {
            "url": facts.url,
            "pin": facts.pin,
            "connect": facts.connect,
            "key_file": facts.key_file,
            "pid": facts.pid,
        }
        print(json.dumps(shown), flush=True)
        return
    lines = [
        f"edge-sink is ready at {facts.url}",
        "",
        "In the building, on a node with Internet access, run:",
        f"  {facts.connect}",
    ]
    if new_key:
        shown_key = new_key if sys.stdout.isatty() else f"(in {facts.key_file})"
        lines += ["", "The command asks for this key, which is shown only once:", f"  {shown_key}"]
    if facts.login_url:
        link = facts.login_url if sys.stdout.isatty() else "(`edge-sink user login-link` prints one)"
        lines += ["", "To log in to the page, open this link. It works once, within an hour:", f"  {link}"]
    print("\n".join(lines), flush=True)


@app.command("status")
def status_command(data: Data = DATA, db: Db = "", as_json: Json = False) -> None:
    """Show the number of alerts, the services and warnings of notices, and the state of each building.

    Reads the database, so it works without a running sink; `notices` is the setting of the sink's last start.

    Examples:

    * `edge-sink status --data ./sink`

    * `edge-sink status --json`
    """
    from cloud_sink.status import lines_of, status_of
    from cloud_sink.store import open_database

    _folder(data)
    found = status_of(open_database(Settings(data=data, database=db).database_url))
    print(json.dumps(found) if as_json else "\n".join(lines_of(found)))


@key_app.command("create")
def key_create(
    name: Annotated[str, typer.Argument(help="The building's name, as the page shows it.")],
    data: Data = DATA,
    db: Db = "",
    out: Annotated[Path | None, typer.Option(help="Write the key to this file (0600) instead of printing it.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key for another building. It is shown only once; the sink stores only its hash."""
    text = _access(data, db, make=True).create_key(name)
    if out is not None:
        write_private(out.absolute(), f"{text}\n".encode())
        shown = str(out)
    else:
        shown = text
    _print({"name": name, "id": text.split("_")[1], "file" if out else "key": shown}, shown, as_json)


@key_app.command("list")
def key_list(data: Data = DATA, db: Db = "", as_json: Json = False) -> None:
    """List the keys with their building, mesh and time of last use."""
    rows = [
        {
            "id": k.id, "name": k.name, "mesh": k.mesh, "created": _time(k.created), "used": _time(k.used),
            "revoked": _time(k.revoked),
        }
        for k in _access(data, db).all_keys()
    ]  # fmt: skip
    _table(rows, as_json)


@key_app.command("revoke")
def key_revoke(
    key: Annotated[str, typer.Argument(help="The key's id.")], data: Data = DATA, db: Db = "", as_json: Json = False
) -> None:
    """Revoke a key at once. Alerts that came with it stay."""
    _access(data, db).revoke_key(key)
    _print({"id": key}, f"the key {key} is revoked", as_json)


@user_app.command("list")
def user_list(data: Data = DATA, db: Db = "", as_json: Json = False) -> None:
    """List the people who may look at the page."""
    rows = [
        {"name": u.name, "password": "yes" if u.password else "no", "created": _time(u.created)}
        for u in _access(data, db).users()
    ]
    _table(rows, as_json)


@user_app.command("add")
def user_add(
    name: str,
    data: Data = DATA,
    db: Db = "",
    password_file: Annotated[Path | None, typer.Option(help="Read the password there instead of asking.")] = None,
    as_json: Json = False,
) -> None:
    """Add a user; asks for the password."""
    _access(data, db, make=True).add_user(name, _password(password_file))
    _print({"name": name}, f"{name} may look at the page", as_json)


@user_app.command("password")
def user_password(
    name: str,
    data: Data = DATA,
    db: Db = "",
    password_file: Annotated[Path | None, typer.Option(help="Read the password there instead of asking.")] = None,
    as_json: Json = False,
) -> None:
    """Set a user's password and log out all their browsers."""
    _access(data, db).set_password(name, _password(password_file))
    _print({"name": name}, f"{name} has a new password", as_json)


@user_app.command("remove")
def user_remove(name: str, data: Data = DATA, db: Db = "", as_json: Json = False) -> None:
    """Remove a user and log out all their browsers."""
    _access(data, db).remove_user(name)
    _print({"name": name}, f"{name} is removed", as_json)


@user_app.command("login-link")
def user_login_link(
    name: Annotated[str, typer.Argument()] = "owner",
    data: Data = DATA,
    db: Db = "",
    url: Annotated[
        str, typer.Option(envvar="EDGE_SINK_URL", help="The sink's address; default: that of its last start.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Print a link that logs a user in. It works once, within an hour."""
    known = data / ADDRESS
    url = url or (known.read_text("utf-8") if known.exists() else "https://localhost:8443")
    link = f"{url.rstrip('/')}/login/{_access(data, db).login_link(name)}"
    _print({"name": name, "link": link}, link, as_json)


def _access(data: Path, db: str, *, make: bool = False) -> Access:
    """The sink's users and keys; raises NotFound where it has no data yet, unless `make`."""
    from cloud_sink.store import Access, open_database

    settings = Settings(data=data, database=db)
    readable = not data.exists() or os.access(data, os.R_OK | os.X_OK)
    if not make and not db and readable and not settings.file.exists():
        hint = "name its folder with --data or EDGE_SINK_DATA, or start it once: edge-sink serve"
        raise NotFound(f"there is no sink in {data}", hint=hint)
    _folder(data)
    return Access(open_database(settings.database_url))


def _folder(data: Path) -> None:
    """Make the sink's folder; raises ConfigError where that fails, or nothing can be written there."""
    try:
        private_folder(data)
        if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as e:
        why = "it is not a folder" if isinstance(e, FileExistsError | NotADirectoryError) else e.strerror
        raise ConfigError(
            f"{data} cannot be used: {why}", hint="name another folder with --data, or EDGE_SINK_DATA"
        ) from None


def _password(file: Path | None) -> str:
    if file is None:
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return _secret(file, "")


def _print(value: dict[str, str], text: str, as_json: bool) -> None:
    print(json.dumps(value) if as_json else text)


def _table(rows: list[dict[str, str]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows))
        return
    if not rows:
        print("none")
        return
    widths = {k: max(len(k), *(len(r[k]) for r in rows)) for k in rows[0]}
    print("  ".join(k.upper().ljust(w) for k, w in widths.items()).rstrip())
    for row in rows:
        print("  ".join(row[k].ljust(w) for k, w in widths.items()).rstrip())


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000).astimezone().isoformat(timespec="seconds") if ms else ""


def _log_to_stderr() -> None:
    """Log one line per message; without the time under journald, which adds it."""
    journald = "JOURNAL_STREAM" in os.environ
    pattern = "%(levelname)s %(name)s: %(message)s" if journald else "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=pattern, stream=sys.stderr)
    for noisy in ("uvicorn.error", "alembic", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def main() -> None:
    """The entry point."""
    run_app("edge-sink", app, debug="EDGE_SINK_DEBUG")
