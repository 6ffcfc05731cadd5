"""`edge-agent source …`: logs, and the devices that send them."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.api import results
from agent.cli.context import JsonFlag, ask, new_app
from agent.cli.output import ago, count, dot, escape, listing, say, size

app = new_app(
    "Logs that nodes follow, and devices that send their logs to a node by syslog.\n\n"
    "Lines of a device are ignored until its address is allowed: in the `allow` list of the receiver, or here. An address in a "
    "UDP packet can be forged: see docs/pipelines.md for TLS and a separate network.",
    examples=(
        "edge-agent source list",
        "edge-agent source allow 192.168.1.7",
        "edge-agent source allow 192.168.10.0/24      the network of the access points alone",
        "edge-agent source deny 192.168.1.66          no warning about it any more",
        "edge-agent source certificate > mesh-ca.pem  for devices that send to tls://",
    ),
)

Network = Annotated[str, typer.Argument(metavar="ADDRESS|NETWORK", help="Like 192.168.1.7 or 192.168.1.0/24.")]


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List the logs of all nodes (on a member: of this node), and the devices that send them.

    For each sender: its address, whether it is allowed, the messages read and dropped since the source started, when it sent
    its last message, and the beginning of that message, by which you recognise the device.
    """
    found = ask(lambda c: c.get("/v1/sources"), list[results.Source], json)
    cells = [
        [
            dot(s.ok),
            escape(s.node),
            f"{escape(s.pipeline)}/{escape(s.step)}",
            f"[bold]{escape(s.name)}[/]",
            escape(s.text),
        ]
        for s in found
    ]
    say(listing(["", "node", "step", "source", ""], cells, empty="no pipeline follows a log here"))
    senders = [(s, sender) for s in found for sender in s.senders]
    if senders:
        say(
            "",
            listing(
                ["sender", "to", "", "messages", "last", "last message"], [_cells(*pair) for pair in senders], empty=""
            ),
        )
    asked = [sender.address for _, sender in senders if not sender.allowed and not sender.decided]
    if asked:
        say(f"[yellow]{count(len(asked), 'sender')} not allowed[/]: edge-agent source allow {escape(asked[0])}")


def _cells(source: results.Source, sender: results.Sender) -> list[str]:
    state = "[green]allowed[/]" if sender.allowed else "[red]denied[/]" if sender.decided else "[yellow]not allowed[/]"
    dropped = "".join(f", {number} {reason}" for reason, number in sorted(sender.dropped.items()))
    return [
        f"[bold]{escape(sender.address)}[/]",
        f"{escape(source.node)} {escape(source.name)}",
        state,
        f"{sender.lines}{escape(dropped)}" + (f" ({size(sender.bytes)})" if sender.bytes else ""),
        ago(sender.last),
        f"[dim]{escape(sender.sample[:60])}[/]",
    ]


@app.command()
def allow(network: Network, json: JsonFlag = False) -> None:
    """Read the logs that come from this address or network, on every node.

    The decision is signed and reaches all nodes; run this on an operator. The decision about the smallest network counts.
    """
    d = ask(lambda c: c.post("/v1/senders", {"network": network, "allow": True}), results.SenderDecision, json)
    say(f"[green]✓[/] logs from [bold]{escape(d.network)}[/] are read")


@app.command()
def deny(network: Network, json: JsonFlag = False) -> None:
    """Ignore the logs that come from this address or network, on every node, without a warning.

    It overrides an earlier `source allow`, and the `allow` list of a receiver that names the same network or a larger one.
    """
    d = ask(lambda c: c.post("/v1/senders", {"network": network, "allow": False}), results.SenderDecision, json)
    say(f"[green]✓[/] logs from [bold]{escape(d.network)}[/] are ignored")


@app.command()
def certificate(json: JsonFlag = False) -> None:
    """Print the CA certificate that devices trust to send to a tls:// receiver of this node.

    A receiver without `certificate` shows the node's. The host name in it is printed first: tell it to a device that
    compares names.
    """
    c = ask(lambda c: c.get("/v1/source-certificate"), results.SourceCertificate, json)
    typer.echo(f"# host name: {c.name}\n{c.ca}", nl=False)
