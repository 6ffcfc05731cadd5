"""A `--form` of the filter wifi-join, proposed from one log line and the MAC in it (docs/access-points.md).

The MAC, the interface and the access point's name become their placeholders, words that change from line to line become
`{skip}`, and what follows the last word of interest becomes `{rest}`. The words that say the event stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from agent.errors import ConfigError, NotFound

_HEX = "[0-9A-Fa-f]"
_MAC = re.compile(
    rf"(?<![0-9A-Za-z])(?<!\b{_HEX}{{2}}[:.-])(?:{_HEX}{{2}}([:.-])(?:{_HEX}{{2}}\1){{4}}{_HEX}{{2}}|(?:{_HEX}{{4}}[.:-]){{2}}{_HEX}{{4}}|{_HEX}{{12}})"
    r"(?![0-9A-Za-z]|[:.-][0-9A-Fa-f]{2}(?![0-9A-Za-z]))"
)
_EVENTS = {
    "left": r"dis-?assoc|de-?auth|(?:dis-?|d[ée]s?)con+e|dis-?join|(?<![\w-])left(?![\w-])|leav(?:e|ing)|abgemeldet|getrennt|verlassen"
    r"|expired|inactiv|timed out|logged o(?:ff|ut)|sign(?:ed)? ?-?o(?:ff|ut)|(?:de|un)-?regist|unassoc|offline|went away"
    r"|departed|removed|(?<![\w-])(?:del|gone|kicked|aged)(?![\w-])|deleted|connection lost",
    "roamed": r"roam|re-?assoc|handover",
    "active": r"renew|rekey|key handshake|dhcpack",
    "joined": r"assoc|con+e(?:[ct]|ss)|join|angemeldet|verbunden|authenticat|client-auth|logged (?:on|in)|online|success|allowed"
    r"|accepted|regist",
}
"""For each event the words that say it, the first that is found: "disconnect" is in the line of a leave and has "connect"."""
_SAYS = re.compile(rf"[\w%-]*(?:{'|'.join(_EVENTS.values())})[\w-]*(?!\w*[\"']?=)", re.IGNORECASE)
_REFUSED = re.compile(r"reject|denied|\bdeny|fail|mismatch|refus|blocked", re.IGNORECASE)
_INTERFACE = re.compile(
    r"(?<=@)[\w.-]*\w|(?<![\w.-])(?:(?=[\w.-]*\d)(?:wlan|wlp|wifi|ap-mld|mld|dot11radio|radio|apcli|client)"
    r"|(?:wl|ath|phy|rai|rax|ra|rei|eth|vap|ap)(?=\d))[\w.-]*\w",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"(?:\b(?:host|hostname|name|user|username|client|alias|ssid|essid|vlan|wlan)\b|\w*(?:Alias|Ip|WifiName))"
    r"[\"']?[=:]\s?[\"']?(?P<value>[^\s\"',;:=|\]\[()]+)|\b(?:sta|station|user|host|ssid)\s(?!(?:went|goes|has|had|is|was|from|to|on|with|the|mac)\b)(?P<word>[^\s\"',;:=|\]\[()]+)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"(?:(?<=[\s(])|^)\"(?P<value>[^\"]+)\"(?![\w\":=])")
"""A name that somebody chose; not a value of KEY="VALUE" or JSON."""
_ACCESS_POINT = re.compile(
    r"(?:(?<![\w-])[Aa][Pp](?:[_-]?[Nn]ame)?[\"']?[=:]|ToDeviceName=|(?<![\w-])AP )[\"']?(?P<value>[^\s\"',;:=|\]\[()]+)"
)
_VOLATILE = re.compile(
    r"\((?P<inner>[^()\s]+)\)"  # a network's name in brackets
    r"|(?<![\w.-])[+-]?\d(?:[\d.:,/+-]*\d)?(?:dBm?|[kMG]?bit/s|[kMG]Hz|ms|s|%)?(?![\w-])"  # counters, times, addresses, strengths
    rf"|(?<![\w.-])(?:0x)?(?=\w*\d){_HEX}{{6,}}(?!\w)"
    r"|(?<![\w%.-])[A-Za-z]+[\w.-]*\d[\w.-]*"  # phone7
)


class Proposal(NamedTuple):
    """A form, and what it should find in its line."""

    form: str
    event: str
    mac: str
    sure: bool
    """Whether a word of the line says the event."""


def macs_of(text: str) -> list[str]:
    """The MACs in the text, in lower case with colons, each once."""
    return list(dict.fromkeys(_plain(m.group()) for m in _MAC.finditer(text)))


def choose_mac(text: str, wanted: str) -> str:
    """The device's MAC in the text: `wanted`, or the only one. Raises ConfigError or NotFound."""
    found = macs_of(text)
    if wanted:
        mac = _plain(wanted)
        if not re.fullmatch(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", mac):
            raise ConfigError(f"{wanted} is not a MAC", hint="write it like 02:00:00:00:00:01")
        if mac not in found:
            raise NotFound(f"the line has no MAC {mac}", hint=f"it has {', '.join(found) or 'none'}")
        return mac
    if not found:
        raise NotFound(
            "the line has no MAC, and no form can find one", hint="choose a line that names the device's MAC"
        )
    if len(found) > 1:
        raise ConfigError(
            f"the line has {len(found)} MACs: {', '.join(found)}", hint="name the device's with --mac MAC"
        )
    return found[0]


def propose(split: dict[str, str], mac: str, event: str = "") -> Iterator[Proposal]:
    """Forms for the message of `split` with this MAC, the closest first, then a wider one. Raises ConfigError for a refusal.

    `event` is joined, left, roamed or active; by default the words of the message decide.
    """
    message, tag = split.get("message", ""), split.get("program", "")
    if tag and "pid" not in split and _INTERFACE.fullmatch(tag):
        message, tag = f"{tag}: {message}", ""  # the line has no program
    parts = _parts(message, mac, split.get("host", ""))
    words = " ".join(part.text for part in parts if part.kind == "says")
    said = next((kind for kind, signs in _EVENTS.items() if re.search(signs, words, re.IGNORECASE)), "")
    if not event and _REFUSED.search(message):
        raise ConfigError(
            "the line reads as if the access point refused the device: no form is proposed",
            hint="--event joined proposes one if the device was let in",
        )
    chosen = event or said or "joined"
    # Without a word of the event any word may say it: all of them stay.
    of_interest = {"mac", "interface", "ap"} | (set() if said else {"text"})
    says = [i for i, part in enumerate(parts) if part.kind == "says"]
    if (
        said == "left"
    ):  # one word is enough: a reason that follows is of this leave. A join may still say "failed" there.
        says = [i for i in says if re.search(_EVENTS[said], parts[i].text, re.IGNORECASE)][:1]
    last = max((i for i, part in enumerate(parts) if i in says or part.kind in of_interest), default=-1) + 1
    program = f"{tag}: " if tag else ""
    end = "{rest}" if parts[last:] else ""
    for form in dict.fromkeys((_close(parts[:last]), _wide(parts[:last]))):
        # A space of a form stands for any number of them, so that a second one fits nowhere.
        yield Proposal(re.sub(" {2,}", " ", f"{chosen}:{program}{form}{end}"), chosen, mac, bool(event or said))


class _Part(NamedTuple):
    """A piece of the message: a placeholder, or the text itself."""

    text: str
    kind: str
    """mac, interface, ap, skip, most, rest; `says` for words of the event, `text` for all others."""


def _parts(message: str, mac: str, host: str) -> list[_Part]:
    """The message cut into pieces; a piece that is found first keeps its place."""
    taken: list[tuple[int, int, str]] = []

    def take(start: int, end: int, kind: str) -> None:
        once = kind in ("mac", "interface", "ap") and any(k == kind for _, _, k in taken)
        if start < end and not any(start < e and end > s for s, e, _ in taken):
            taken.append((start, end, "skip" if once else kind))

    for m in _MAC.finditer(message):
        take(*m.span(), "mac" if _plain(m.group()) == mac else "skip")
    device = next((m.start() for m in _MAC.finditer(message) if _plain(m.group()) == mac), 0)
    for m in _QUOTED.finditer(message):
        if not _SAYS.search(m["value"]):  # a guest may have put another MAC into the name: the last one counts
            take(*m.span("value"), "most" if m.start() < device else "rest")
    for m in _NAMED.finditer(message):
        if not _SAYS.search(m["value"] or m["word"]):
            take(*m.span("value" if m["value"] else "word"), "skip")
    for m in _ACCESS_POINT.finditer(message):
        take(*m.span("value"), "ap")
    if host:
        for m in re.finditer(rf"(?<![\w.-]){re.escape(host)}(?![\w.-])", message):
            take(*m.span(), "ap")
    for m in _INTERFACE.finditer(message):
        take(*m.span(), "interface")
    for m in _SAYS.finditer(message):
        take(*m.span(), "says")
    for m in _VOLATILE.finditer(message):
        take(*(m.span("inner") if m["inner"] else m.span()), "skip")
    parts, at = [], 0
    for start, end, kind in sorted(taken):
        parts += [_Part(message[at:start], "text"), _Part(message[start:end], kind)]
        at = end
    return [p for p in (*parts, _Part(message[at:], "text")) if p.text]


def _close(parts: list[_Part]) -> str:
    """The pieces with what is between them; what changes becomes `{skip}`."""
    form = "".join(_fixed(part.text) if part.kind in ("text", "says") else f"{{{part.kind}}}" for part in parts)
    return re.sub(r"(?:\{skip\}){2,}", "{skip}", form)


def _wide(parts: list[_Part]) -> str:
    """Only the pieces of interest, with `{rest}` for all others."""
    form = "".join(
        _fixed(part.text)
        if part.kind == "says"
        else _between(part)
        if part.kind in ("text", "skip")
        else f"{{{part.kind}}}"
        for part in parts
    )
    return re.sub(r"\{rest\}(?:[^{}\w]*\{rest\})+", "{rest}", form)


def _fixed(text: str) -> str:
    """A text of a form: braces are placeholders there."""
    return re.sub("[{}]+", "{rest}", text)


def _between(part: _Part) -> str:
    """A piece of no interest: its blanks and signs beside other pieces stay."""
    text = part.text
    if part.kind == "text" and not any(c.isalnum() for c in text):
        return _fixed(text)
    return "{rest}" + (_fixed(text[-1]) if part.kind == "text" and not text[-1].isalnum() else "")


def _plain(text: str) -> str:
    digits = re.sub("[^0-9a-f]", "", text.lower())
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))
