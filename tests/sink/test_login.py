"""Login: links, passwords, sessions, and forms from other sites."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Semaphore
from types import SimpleNamespace

import httpx
import pytest

from cloud_sink.app import Sink, create_app
from cloud_sink.settings import Settings
from cloud_sink.store import Access, access, open_database
from tests.sink.running import Building, Caller, calling_sink, encode

PASSWORD = "a long enough password"


@pytest.fixture
def browser(sink: Caller) -> Iterator[httpx.Client]:
    """A browser that is not logged in."""
    with httpx.Client(base_url=sink.http.base_url, verify=sink.http._transport._pool._ssl_context) as client:  # type: ignore[attr-defined]
        yield client


def login_link(sink: Caller, user: str = "owner") -> str:
    """A login link as `edge-sink user login-link` prints it, without a process for each test."""
    engine = open_database(f"sqlite:///{sink.data / 'sink.db'}")
    secret = Access(engine).login_link(user)
    engine.dispose()
    return f"/login/{secret}"


def csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found
    return found[1]


@pytest.mark.parametrize("path", ["/", "/buildings", "/incidents/m/r", "/photos/1.jpg", "/account"])
def test_nothing_is_shown_without_a_login(browser: httpx.Client, path: str) -> None:
    answer = browser.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


def test_the_live_stream_needs_a_login_too(browser: httpx.Client) -> None:
    assert browser.get("/live").status_code == 401


def test_link_logs_in_once_and_sets_a_safe_cookie(sink: Caller, browser: httpx.Client) -> None:
    printed = json.loads(sink.cli("user", "login-link", "--json"))["link"]
    assert str(printed).startswith(f"{sink.http.base_url}/login/")
    link = "/login/" + str(printed).rsplit("/", 1)[1]
    answer = browser.get(link)
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"].lower()
    for part in ("__host-session=", "secure", "httponly", "samesite=lax", "path=/"):
        assert part in cookie
    assert browser.get("/").status_code == 200
    browser.cookies.clear()
    assert browser.get(link).status_code == 403


def test_setting_a_password_logs_out_other_browsers(sink: Caller, browser: httpx.Client) -> None:
    folder = Path(sink.data).parent
    (folder / "pw").write_text(PASSWORD)
    sink.cli("user", "add", "anna", "--password-file", str(folder / "pw"))
    first, second = login_link(sink, "anna"), login_link(sink, "anna")
    browser.get(first)
    token = csrf(browser.get("/account").text)
    with httpx.Client(base_url=browser.base_url, verify=browser._transport._pool._ssl_context) as other:  # type: ignore[attr-defined]
        other.get(second)
        assert other.get("/").status_code == 200
        form = {"csrf": token, "old": "wrong one here", "new": PASSWORD + "!"}
        assert browser.post("/account", data=form).status_code == 403
        assert browser.post("/account", data={**form, "old": PASSWORD, "new": "short"}).status_code == 422
        assert "logged out" in browser.post("/account", data={**form, "old": PASSWORD}).text
        assert other.get("/").status_code == 303
    assert browser.get("/").status_code == 200
    browser.cookies.clear()
    assert browser.post("/login", data={"name": "anna", "password": PASSWORD}).status_code == 403
    assert browser.post("/login", data={"name": "anna", "password": PASSWORD + "!"}).status_code == 303
    assert browser.post("/logout", data={"csrf": csrf(browser.get("/").text)}).status_code == 303
    assert browser.get("/").status_code == 303
    sink.cli("user", "remove", "anna")
    assert "there is no user anna" in sink.cli("user", "remove", "anna", check=False)


def test_forms_from_other_sites_and_without_the_token_do_nothing(sink: Caller, browser: httpx.Client) -> None:
    browser.get(login_link(sink))
    token = csrf(browser.get("/").text)
    assert browser.post("/logout", data={"csrf": "x"}).status_code == 403
    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "same-site"},
    ):
        assert browser.post("/logout", data={"csrf": token}, headers=headers).status_code == 403
    assert browser.get("/").status_code == 200
    origin = str(browser.base_url).rstrip("/")
    same = {"origin": origin, "sec-fetch-site": "same-origin"}
    assert browser.post("/logout", data={"csrf": token}, headers=same).status_code == 303


@pytest.mark.parametrize("kind", ["fields", "a file"])
def test_large_form_is_refused_without_a_login(browser: httpx.Client, kind: str) -> None:
    fields = {"name": "owner", "password": PASSWORD}
    if kind == "fields":
        answer = browser.post("/login", data=fields | {"more": "x" * 100_000})
    else:
        answer = browser.post("/login", data=fields, files={"more": b"x" * 100_000})
    assert answer.status_code == 413
    assert browser.post("/login", data=fields | {"more": "x" * 50_000}).status_code == 403


def test_password_guesses_are_limited_by_name_and_address(tmp_path: Path) -> None:
    with calling_sink(tmp_path / "sink") as sink:
        answers = [sink.http.post("/login", data={"name": "owner", "password": "x"}).status_code for _ in range(12)]
        assert answers[:10] == [403] * 10
        assert answers[10:] == [429, 429]
        secret = sink.facts["login_url"].rsplit("/", 1)[1]
        assert sink.http.get(f"/login/{secret}").status_code == 303, "the link from the terminal still lets in"


def test_every_page_has_the_headers_and_no_inline_script(sink: Caller, browser: httpx.Client, home: Building) -> None:
    sink.post("/v1/alerts", encode(home.alert("headers", device={"name": "<script>alert(1)</script>"})))
    browser.get(login_link(sink))
    for path in ("/", "/buildings", "/account", "/login", "/nothing"):
        answer = browser.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "<script>" not in answer.text
        assert not re.search(r"\sstyle=|\son\w+=", answer.text)
    assert browser.get("/nothing").status_code == 404


@pytest.mark.parametrize(
    "path", ["/photos/99999.jpg", "/photos/-1.jpg", "/incidents/none/none", "/?before=x", "/photos/x.jpg"]
)
def test_missing_page_gives_an_error_page(sink: Caller, browser: httpx.Client, path: str) -> None:
    browser.get(login_link(sink))
    answer = browser.get(path)
    assert answer.status_code in (404, 422)
    assert "Back to the alerts" in answer.text


def test_the_history_goes_back_page_by_page(sink: Caller, browser: httpx.Client, home: Building) -> None:
    for n in range(45):
        assert sink.post("/v1/alerts", encode(home.alert(f"page {n}", photo=b""))).status_code == 200
    browser.get(login_link(sink))
    seen: list[str] = []
    path = "/"
    while path:
        page = browser.get(path).text
        seen += re.findall(r'data-key="([^"]+)"', page)
        older = re.search(r'href="(/\?before=\d+)"', page)
        path = older[1] if older else ""
    assert len(seen) == len(set(seen))
    assert len(seen) >= 45


def test_an_incidents_own_page_shows_its_events_as_json(sink: Caller, browser: httpx.Client, home: Building) -> None:
    alert = home.alert("own page", photo=b"")
    assert sink.post("/v1/alerts", encode(alert)).status_code == 200
    browser.get(login_link(sink))
    page = browser.get(f"/incidents/{home.mesh}/{alert.event.root}")
    assert f"&#34;id&#34;: &#34;{alert.event.id}&#34;" in page.text


def test_passwords_are_hashed_two_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'sink.db'}")
    room, third = Semaphore(2), Event()

    def verify(_hash: str, _password: str) -> bool:
        if not room.acquire(blocking=False):
            third.set()
            return False
        third.wait(0.5)  # room for a third to come meanwhile
        room.release()
        return True

    monkeypatch.setattr(access, "_HASHER", SimpleNamespace(verify=verify))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda n: Access(engine).check_password(f"user {n}", PASSWORD), range(3)))
    engine.dispose()
    assert not third.is_set()


async def test_guesses_from_one_ipv6_network_count_together(tmp_path: Path) -> None:
    sink = Sink(Settings(data=tmp_path))
    app = create_app(sink)
    answers = []
    for n in range(12):
        transport = httpx.ASGITransport(app, client=(f"2001:db8::{n + 1:x}", 1))
        async with httpx.AsyncClient(transport=transport, base_url="https://sink.example") as client:
            answers.append((await client.post("/login", data={"name": f"user {n}", "password": "x"})).status_code)
    sink.close()
    assert answers == [403] * 10 + [429] * 2
