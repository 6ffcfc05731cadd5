"""`edge-agent release …`: the key of releases, and signing and checking a release. It needs no running agent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.context import JsonFlag, new_app, read_secret
from agent.cli.output import escape, listing, print_json, say, size
from agent.errors import ConfigError

app = new_app(
    "Make the key of releases, and sign and check releases.",
    examples=(
        "edge-agent release keygen ~/release-key --passphrase",
        "edge-agent release sign dist --key ~/release-key/release.key",
        "edge-agent release verify dist --key release.pub",
        "edge-agent release show dist",
    ),
)
Dist = Annotated[
    Path,
    typer.Argument(
        metavar="DIST", help="Folder with the release's files.", exists=True, file_okay=False, resolve_path=True
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="File with the passphrase of the private file."),
]


@app.command()
def keygen(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder for the three files; made where it is missing.")
    ],
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Ask at the terminal for a passphrase of the private file.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    json: JsonFlag = False,
) -> None:
    """Make a release key: P-256 and Ed25519, in one private file (0600) and two public files.

    Do this on a machine that is not a node, and keep the private file off every node: with it, and only with it, packages can
    be made that nodes install.
    """
    from agent.files import write_private
    from agent.release import SigningKey

    names = {name: folder / name for name in ("release.key", "release.pub", "release.usign.pub")}
    for path in names.values():
        if path.exists():
            raise ConfigError(
                f"{path} exists", hint="a key is not overwritten: name another folder", code="release.exists"
            )
    secret = _secret(passphrase_file) if passphrase_file else _ask(twice=True) if passphrase else None
    key = SigningKey.generate()
    write_private(names["release.key"], key.to_pem(secret))
    for name, text in (("release.pub", key.public.pem), ("release.usign.pub", key.usign.text)):
        names[name].write_bytes(text)
    found: dict[str, Any] = {
        "key": key.public.id, "usign": key.usign.number.hex(), "encrypted": secret is not None,
        "files": {name: str(path) for name, path in names.items()},
    }  # fmt: skip
    if json:
        print_json(found)
        return
    say(
        f"[green]✓[/] {escape(str(names['release.key']))}  private, 0600{'' if secret is None else ', encrypted'}",
        f"[green]✓[/] {escape(str(names['release.pub']))}  its id is {key.public.id}",
        f"[green]✓[/] {escape(str(names['release.usign.pub']))}  for usign and opkg, its id is {key.usign.number.hex()}",
        "Keep release.key off every node, and a copy of it in a safe place. A node that has it can install anything on all "
        "nodes; without it there is no next release.",
    )


@app.command()
def sign(
    dist: Dist,
    key: Annotated[
        Path, typer.Option("--key", metavar="FILE", help="The private file of the release key.", dir_okay=False)
    ],
    next_key: Annotated[
        Path | None,
        typer.Option(
            "--next-key", metavar="FILE", dir_okay=False,
            help="The release.pub of the key that signs the releases after this one.",
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    json: JsonFlag = False,
) -> None:  # fmt: skip
    """Sign a release: its manifest, the indexes of apk and opkg, and its list of hashes.

    With --next-key the release tells nodes the key that replaces this one.
    """
    from agent.release import PublicKey, SigningKey, sign_dist

    following = PublicKey.from_file(next_key) if next_key else None
    private = SigningKey.from_file(key, lambda: _secret(passphrase_file) if passphrase_file else _ask())
    written: list[str] = []
    manifest = sign_dist(dist, private, next_key=following, say=written.append)
    if json:
        print_json(
            {
                "version": manifest.version,
                "key": private.public.id,
                "next_key": _id(manifest.next_key),
                "files": written,
            }
        )
        return
    say(f"[green]✓[/] release {escape(manifest.version)} is signed by {private.public.id}")
    if manifest.next_key:
        say(f"  the key after it is {_id(manifest.next_key)}")
    say(f"[dim]  written: {escape(', '.join(written))}[/]")


@app.command()
def verify(
    dist: Dist,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", metavar="FILE", dir_okay=False, help="The release.pub that you trust; else that in DIST."
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Check the signatures of a release and the SHA-256 of each of its files."""
    import msgspec

    from agent.release import PublicKey, verify_dist

    checked = verify_dist(dist, PublicKey.from_file(key) if key else None)
    if json:
        print_json(msgspec.to_builtins(checked))
        return
    say(f"[green]✓[/] release {escape(checked.version)}: {checked.files} files, signed by {checked.key}")
    if not checked.pinned:
        say("[yellow]![/] the key is the one in the folder: compare its id with the owner's, or give --key")


@app.command()
def show(dist: Dist, json: JsonFlag = False) -> None:
    """Show the packages of a release. This checks no signature; release verify does."""
    import msgspec

    from agent.release import read_dist

    manifest, is_signed = read_dist(dist)
    if json:
        print_json(msgspec.to_builtins(manifest))
        return
    signed = "signed" if is_signed else "not signed yet"
    say(
        f"release [bold]{escape(manifest.version)}[/], protocol {manifest.protocol}, channel {escape(manifest.channel)}, "
        f"{escape(manifest.released)}, {signed}"
    )
    if manifest.next_key:
        say(f"the key after this release: {_id(manifest.next_key)}")
    rows = [
        [escape(p.file), p.kind, p.program, p.arch, p.variant or "-", size(p.size), size(p.unpacked)]
        for p in manifest.packages
    ]
    columns = ["file", "kind", "program", "architecture", "variant", "size", "unpacked"]
    say(listing(columns, rows, empty="it has no packages", right=("size", "unpacked")))


@app.command("import")
def import_(
    dist: Dist,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="Folder of the agent's state; else the configuration's."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Check a release with the pinned key and keep it here, so that this operator hands it out: edge-agent upgrade.

    Run it as root, or as the agent's user. The release that was here goes.
    """
    from agent.cli.context import chosen
    from agent.config import load_config
    from agent.platforms import placed
    from agent.release import Library, ReleaseStore

    config = placed(load_config(chosen.config))
    key = ReleaseStore(config.release).key
    if key is None:
        raise ConfigError(
            f"no release key is pinned in {config.release}",
            hint="the installer's line pins it; a checkout has none",
            code="release.no-key",
        )
    manifest = Library((state or config.state) / "packages").bring(dist, key)
    if json:
        print_json({"version": manifest.version, "packages": len(manifest.packages)})
        return
    say(f"[green]✓[/] release {escape(manifest.version)} is here; edge-agent upgrade shows the nodes' versions")


@app.command(hidden=True)
def install(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the staged files.")], json: JsonFlag = False
) -> None:
    """Install what the agent staged, as root; the service edge-agent-upgrade and agents of root run this."""
    import msgspec

    from agent.cli.context import chosen
    from agent.config import load_config
    from agent.release import ReleaseStore, install_staged

    last = install_staged(folder, ReleaseStore(load_config(chosen.config).release))
    if json:
        print_json(msgspec.to_builtins(last))
    else:
        say(f"{'[green]✓[/]' if last.ok else '[bold red]✗[/]'} {escape(last.text)}")
    raise typer.Exit(0 if last.ok else 1)


def _id(pem: str | None) -> str | None:
    from agent.release import PublicKey

    return PublicKey.from_pem(pem.encode()).id if pem else None


def _secret(file: Path) -> bytes:
    return read_secret(f"@{file}", "Passphrase").encode()


def _ask(*, twice: bool = False) -> bytes:
    """The passphrase from the terminal, which may be another place than stdin."""
    import getpass

    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise ConfigError(
            "there is no terminal to ask for the passphrase",
            hint="give a file with it: --passphrase-file FILE",
            code="release.passphrase",
        ) from None
    secret = getpass.getpass("Passphrase of the release key: ")
    if twice and getpass.getpass("Again: ") != secret:
        raise ConfigError("the two passphrases differ", hint="nothing was made: try again", code="release.passphrase")
    if not secret:
        raise ConfigError(
            "the passphrase is empty", hint="give one, or leave --passphrase out", code="release.passphrase"
        )
    return secret.encode()
