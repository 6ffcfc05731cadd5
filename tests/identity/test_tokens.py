from __future__ import annotations

import string
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError, IdentityError, JoinRefused, NotFound
from agent.identity import Token, TokenBook
from agent.identity.tokens import is_address, split_address
from tests.identity.meshes import Mesh

_words = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12)
_hosts = st.sampled_from(["192.168.1.7", "[fd00::1]", "porch.local", "10.0.0.1"])
_tokens = st.builds(
    Token,
    ca=st.binary(min_size=32, max_size=32),
    issuer=_words,
    issuer_name=st.text(max_size=20),
    addresses=st.lists(st.builds(lambda h, p: f"{h}:{p}", _hosts, st.integers(1, 65535)), min_size=1, max_size=4).map(
        tuple
    ),
    id=_words,
    secret=st.binary(min_size=16, max_size=16),
    expires=st.integers(0, 2**40),
    uses=st.integers(1, 10_000),
    role=st.sampled_from(["member", "operator"]),
    labels=st.dictionaries(_words.map(lambda w: "x" + w), _words, max_size=4),
)


@given(_tokens)
def test_a_token_is_one_word_and_comes_back(token: Token) -> None:
    text = token.encode()
    assert text.split() == [text]
    assert text.isascii()
    assert Token.parse(text) == token


@given(_tokens, st.integers(1, 200))
def test_white_space_of_copying_does_no_harm(token: Token, width: int) -> None:
    text = token.encode()
    wrapped = "\r\n ".join(text[i : i + width] for i in range(0, len(text), width))
    if len(wrapped) < 8000:
        assert Token.parse(f"  {wrapped}\n") == token


@given(_tokens, st.integers(min_value=0), st.characters())
def test_a_mistyped_token_is_refused(token: Token, at: int, char: str) -> None:
    text = token.encode()
    at %= len(text)
    if text[at] == char or char.isspace():
        return
    with pytest.raises(JoinRefused) as caught:
        Token.parse(text[:at] + char + text[at + 1 :])
    assert caught.value.code == "join.token"


@given(_tokens, st.integers(min_value=0))
def test_a_token_cut_off_is_refused(token: Token, at: int) -> None:
    text = token.encode()
    with pytest.raises(JoinRefused):
        Token.parse(text[: at % len(text)])


@given(st.text() | st.text().map(lambda t: "edge1." + t))
def test_garbage_is_no_token(text: str) -> None:
    with pytest.raises(JoinRefused) as caught:
        Token.parse(text)
    assert caught.value.code == "join.token"
    assert caught.value.hint


def test_a_huge_text_is_no_token() -> None:
    with pytest.raises(JoinRefused):
        Token.parse("edge1." + "A" * 10_000_000)


@pytest.mark.parametrize(
    "text", ["", ":", "host", "host:", ":1", "host:0", "host:65536", "host:1x", "a b:1", "a/b:1", "h:²"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    assert not is_address(text)
    with pytest.raises(ConfigError):
        split_address(text)


def test_addresses_are_split() -> None:
    assert split_address("192.0.2.1:7947") == ("192.0.2.1", 7947)
    assert split_address("[fd00::1]:80") == ("fd00::1", 80)


def test_the_secret_shows_in_no_repr(mesh: Mesh) -> None:
    token = mesh.token("192.0.2.1:7947")
    for text in (repr(token), repr(mesh.tokens.list())):
        assert repr(token.secret) not in text
        assert "secret" not in text


def test_the_book_is_private_and_survives_a_restart(mesh: Mesh) -> None:
    token = mesh.token("192.0.2.1:7947", uses=2, labels={"camera": "true"})
    mesh.tokens.redeem(token.id, "node-a", "porch")
    path = mesh.folder / "tokens.json"
    assert path.stat().st_mode & 0o777 == 0o600
    record = TokenBook(path).get(token.id)
    assert record.secret == token.secret
    assert record.redeemed == {"node-a": "porch"}
    assert record.labels == {"camera": "true"}


def test_a_damaged_book_is_an_error(mesh: Mesh) -> None:
    (mesh.folder / "tokens.json").write_text("{")
    with pytest.raises(IdentityError):
        TokenBook(mesh.folder / "tokens.json")


def test_uses_are_counted_by_node(mesh: Mesh) -> None:
    token = mesh.token("192.0.2.1:7947", uses=2)
    mesh.tokens.redeem(token.id, "node-a", "porch")
    assert mesh.tokens.redeem(token.id, "node-a", "other").redeemed["node-a"] == "porch"
    mesh.tokens.redeem(token.id, "node-b", "garage")
    with pytest.raises(JoinRefused) as caught:
        mesh.tokens.redeem(token.id, "node-c", "attic")
    assert caught.value.code == "join.used"
    assert mesh.tokens.redeem(token.id, "node-a", "porch").redeemed["node-a"] == "porch"


def test_many_at_once_never_use_a_token_twice(mesh: Mesh) -> None:
    token = mesh.token("192.0.2.1:7947", uses=3)

    def use(n: int) -> bool:
        try:
            mesh.tokens.redeem(token.id, f"node-{n}", f"n{n}")
        except JoinRefused:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(use, range(24))) == 3
    assert len(TokenBook(mesh.folder / "tokens.json").get(token.id).redeemed) == 3


def test_only_operators_issue_tokens(mesh: Mesh) -> None:
    _, member = mesh.member("porch")
    with pytest.raises(IdentityError):
        mesh.tokens.issue(member, ["192.0.2.1:7947"])


@pytest.mark.parametrize(
    "wrong",
    [{"uses": 0}, {"lifetime": 0.0}, {"role": "king"}, {"labels": {"a b": "c"}}, {"labels": {"node": "x"}}],
)
def test_a_token_with_values_out_of_range_is_not_made(mesh: Mesh, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        mesh.token("192.0.2.1:7947", **wrong)
    assert mesh.tokens.list() == []


def test_a_token_needs_an_address(mesh: Mesh) -> None:
    with pytest.raises(ConfigError, match="no address that others reach"):
        mesh.token()
    with pytest.raises(ConfigError):
        mesh.token("nowhere")


def test_revoking_what_is_not_there_is_an_error(mesh: Mesh) -> None:
    with pytest.raises(NotFound):
        mesh.tokens.revoke("nothing")
