"""Slack: one message for each incident, with its photos, edited when more alerts arrive; one for each report.

Photos are uploaded by the external-upload flow: files.getUploadURLExternal, POST of the bytes,
files.completeUploadExternal without a channel. Image blocks name the files, so that chat.postMessage answers with the
message's ts at once and chat.update can add more. Sources: docs.slack.dev, "Working with files", methods
files.getUploadURLExternal, files.completeUploadExternal, files.info, chat.postMessage, chat.update,
conversations.history, "Rate limits". Scopes of the bot: chat:write, files:write, files:read, channels:history
(groups:history in a private channel).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Iterator
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from agent.errors import ConfigError
from cloud_sink.incidents import Incident, Picture, milliseconds, size
from cloud_sink.notify.channel import Books, Later
from cloud_sink.notify.queue import Pending
from cloud_sink.store.models import Report

logger = logging.getLogger(__name__)

API = "https://slack.com/api/"
MAX_PHOTOS = 10
"""Photos in one message; Slack allows 50 blocks."""
TIMEOUT = 30
_CHANNEL = re.compile(r"[CGD][A-Z0-9]{8,20}\Z")
_TOKEN = re.compile(r"xox[a-z]-[A-Za-z0-9-]+\Z")
_READY_TRIES = 10
_HOPELESS_PAUSE = 600.0
_HOPELESS = frozenset(
    [
        "invalid_auth",
        "not_authed",
        "token_revoked",
        "token_expired",
        "account_inactive",
        "missing_scope",
        "channel_not_found",
        "not_in_channel",
        "is_archived",
        "no_permission",
        "team_access_not_granted",
        "restricted_action",
    ]
)
"""Errors that only a person can fix; the notifier retries every ten minutes."""
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
"""The message was deleted, or Slack no longer allows changes: leave it."""


class Slack:
    """The channel `slack:<channel id>`."""

    def __init__(self, token: str, channel: str, *, page: str = "", api: str = API) -> None:
        if not _CHANNEL.match(channel):
            raise ConfigError(
                f"{channel!r} is not a Slack channel id",
                hint="the channel's details in Slack show its id, such as C0123456789",
            )
        if not _TOKEN.match(token):
            raise ConfigError(
                "the Slack token is invalid",
                hint="copy the bot's token (xoxb-…) from the page OAuth & Permissions of the Slack app",
            )
        self.name = f"slack:{channel}"
        self._channel, self._token, self._page, self._api = channel, token, page.rstrip("/"), api
        self._session: aiohttp.ClientSession | None = None
        self._client: AsyncWebClient | None = None

    async def close(self) -> None:
        """See Channel."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def show(self, pending: Pending, incident: Incident, books: Books) -> str:
        """See Channel."""
        client = self._open()
        with _as_later():
            files = await self._upload(client, pending, incident, books)
            blocks = self._blocks(pending, incident, files)
            if not pending.message and pending.posting:
                oldest = min(a["received_ms"] for a in incident.alerts)
                pending.message = await self._find(client, pending, oldest)
            if pending.message:
                return await self._edit(client, pending, incident, blocks)
            await books.posting(True)
            return await self._post(client, _plain(incident), blocks)

    async def tell(self, pending: Pending, report: Report, books: Books) -> str:
        """See Channel."""
        client = self._open()
        text = f"*{_escape(report.title)}*\n{_escape(report.body)}"[:3000]
        block = {"type": "section", "block_id": _block_id(pending), "text": {"type": "mrkdwn", "text": text}}
        with _as_later():
            if pending.posting and (found := await self._find(client, pending, report.created)):
                return found
            await books.posting(True)
            return await self._post(client, _escape(report.title), [block])

    def _open(self) -> AsyncWebClient:
        if self._session is None or self._client is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))
            self._client = AsyncWebClient(
                token=self._token, base_url=self._api, timeout=TIMEOUT, session=self._session, retry_handlers=[]
            )
        return self._client

    async def _upload(
        self, client: AsyncWebClient, pending: Pending, incident: Incident, books: Books
    ) -> dict[str, str]:
        """Upload the missing photos; each finished file is stored at once."""
        files = dict(pending.files)
        for picture in incident.pictures[:MAX_PHOTOS]:
            if picture.url not in files and (content := await books.picture(picture)):
                files[picture.url] = await self._upload_one(client, picture, content)
                await books.keep_files(files)
        return files

    async def _upload_one(self, client: AsyncWebClient, picture: Picture, content: bytes) -> str:
        name = re.sub(r"[^A-Za-z0-9._-]", "-", picture.camera or "photo") + ".jpg"
        place = await _asked(
            client.files_getUploadURLExternal(filename=name, length=len(content), alt_txt=picture.alt[:1000])
        )
        url, file_id = _text(place, "upload_url"), _text(place, "file_id")
        if not url.startswith("https://") and self._api == API:
            raise Later("Slack gave an upload address without TLS")
        assert self._session is not None
        # The address itself is the permission, so the token is not sent there.
        async with self._session.post(
            url, data=content, headers={"content-type": "application/octet-stream"}
        ) as answer:
            if answer.status == 429:
                raise Later("Slack: too many uploads", _seconds(answer.headers.get("Retry-After", "")))
            if answer.status != 200:
                raise Later(f"Slack's upload answered HTTP {answer.status}")
        await _asked(client.files_completeUploadExternal(files=[{"id": file_id, "title": picture.camera}]))
        await self._until_ready(client, file_id)
        return file_id

    async def _until_ready(self, client: AsyncWebClient, file_id: str) -> None:
        """Wait until Slack has processed a file: it refuses blocks that name a file before that."""
        for attempt in range(_READY_TRIES):
            info = await _asked(client.files_info(file=file_id))
            if not isinstance(file := info.get("file"), dict):
                raise _odd("has no file")
            if file.get("mimetype"):
                return
            await asyncio.sleep(0.2 * (attempt + 1))
        raise Later("Slack has not finished processing the photo")

    async def _find(self, client: AsyncWebClient, pending: Pending, since_ms: int) -> str:
        """The ts of a message that was posted without an answer; empty when no such message is found."""
        oldest = since_ms / 1000 - 60
        try:
            found = await _asked(client.conversations_history(channel=self._channel, oldest=f"{oldest:.6f}", limit=200))
        except SlackApiError as e:
            if _error(e) != "missing_scope":
                raise
            logger.warning("slack: the bot lacks the scope channels:history; a message may come twice after a crash")
            return ""
        if not isinstance(messages := found.get("messages"), list):
            raise _odd("has no messages")
        for message in (m for m in messages if isinstance(m, dict)):
            blocks = message.get("blocks")
            ids = [b.get("block_id") for b in blocks if isinstance(b, dict)] if isinstance(blocks, list) else []
            if _block_id(pending) in ids:
                return _text(message, "ts")
        return ""

    async def _post(self, client: AsyncWebClient, text: str, blocks: list[dict[str, Any]]) -> str:
        answer = await _asked(
            client.chat_postMessage(
                channel=self._channel, text=text, blocks=blocks, unfurl_links=False, unfurl_media=False
            )
        )
        return _text(answer, "ts")

    async def _edit(
        self, client: AsyncWebClient, pending: Pending, incident: Incident, blocks: list[dict[str, Any]]
    ) -> str:
        try:
            await _asked(
                client.chat_update(channel=self._channel, ts=pending.message, text=_plain(incident), blocks=blocks)
            )
        except SlackApiError as e:
            if _error(e) not in _GONE:
                raise
            logger.info("slack: cannot change the message of incident %s any more; leaving it", pending.root)
        return pending.message

    def _blocks(self, pending: Pending, incident: Incident, files: dict[str, str]) -> list[dict[str, Any]]:
        title = f"*{_escape(incident.title)}*"
        if self._page:
            title = f"*<{self._page}{incident.url}|{_escape(incident.title)}>*"
        who = f"{incident.who} joined the Wi-Fi" if incident.who else ""
        line = " · ".join(filter(None, [incident.time, _escape(who), _escape(incident.detail)]))
        blocks: list[dict[str, Any]] = [
            {
                "type": "section",
                "block_id": _block_id(pending),
                "text": {"type": "mrkdwn", "text": f"{title}\n{line}"[:3000]},
            }
        ]
        for picture in (p for p in incident.pictures[:MAX_PHOTOS] if p.url in files):
            blocks.append(
                {
                    "type": "image",
                    "slack_file": {"id": files[picture.url]},
                    "alt_text": picture.alt[:2000],
                    "title": {"type": "plain_text", "text": picture.camera[:2000] or "photo"},
                }
            )
        facts = f"{milliseconds(incident.total_ms)} from log line to alert · {size(incident.size)} left the building"
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": facts}]})
        return blocks


def _block_id(pending: Pending) -> str:
    """The block id that marks a message as this notice's; Slack keeps it with the message."""
    return f"edge {pending.mesh} {pending.root}"[:255]


@contextlib.contextmanager
def _as_later() -> Iterator[None]:
    """Raise the errors of Slack and of the way to it as Later."""
    try:
        yield
    except SlackApiError as e:
        raise _later(e) from e
    except (SlackClientError, aiohttp.ClientError, OSError, TimeoutError) as e:
        raise Later(f"cannot reach Slack: {type(e).__name__}", maybe_posted=True) from e


async def _asked(call: Awaitable[AsyncSlackResponse]) -> dict[str, Any]:
    """The JSON object of an answer; raises SlackApiError, and Later for an answer that slack_sdk cannot read."""
    try:
        answer = (await call).data
    except aiohttp.ClientError:
        raise  # some subclasses are ValueErrors
    except (AttributeError, ValueError, LookupError, TypeError, RecursionError) as e:
        raise _odd(f"is not a JSON object ({type(e).__name__})") from e
    if not isinstance(answer, dict):
        raise _odd("is not a JSON object")
    return answer


def _text(answer: dict[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise _odd(f"has no {name}")
    return value


def _odd(why: str) -> Later:
    """The error for an unexpected answer, of Slack or of a proxy: the request may have succeeded."""
    return Later(f"Slack's answer {why}", maybe_posted=True)


def _error(e: SlackApiError) -> str:
    """Slack's name of the error; empty if the answer is not a JSON object."""
    data = getattr(e.response, "data", None)
    return str(data.get("error", "")) if isinstance(data, dict) else ""


def _later(e: SlackApiError) -> Later:
    # If slack_sdk cannot read the JSON, it returns aiohttp's response instead of a response type from slack_sdk.
    answer: Any = e.response
    status = answer.status if isinstance(answer, aiohttp.ClientResponse) else answer.status_code
    error = _error(e)
    if status == 429 or error == "ratelimited":
        return Later("Slack: too many requests", _seconds(answer.headers.get("Retry-After", "")))
    if not error:
        return _odd(f"has no error name (HTTP {status})")
    if error in _HOPELESS:
        needed = str(answer.get("needed", ""))
        return Later(f"Slack says {error}" + (f" (scope {needed})" if needed else ""), _HOPELESS_PAUSE)
    return Later(f"Slack says {error}", maybe_posted=status >= 500)


def _seconds(text: str) -> float:
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() and text != "0" else 1.0


def _plain(incident: Incident) -> str:
    """The text for notifications and screen readers."""
    return _escape(
        f"{incident.title}: {incident.who or 'somebody'} joined the Wi-Fi" if incident.who else incident.title
    )


def _escape(text: str) -> str:
    """Escape Slack's three control characters ("Formatting text for app surfaces")."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
