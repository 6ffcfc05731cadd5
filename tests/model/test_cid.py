"""CIDs against other implementations' results."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.blobs import hash_bytes
from agent.errors import BlobError
from agent.model.cid import EMPTY, parse_cid, raw_cid
from agent.model.unixfs import CHUNK, DIGEST, layers, preorder, root_cid
from tests.blobs.data import pattern

KNOWN = {
    # Made with npm's ipfs-unixfs-importer 15 (cidVersion 1, raw leaves, 256 KiB, balanced, 174 links).
    0: "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
    1: "bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu",
    CHUNK - 1: "bafkreid4gxqrbnieiepevvwqq2m6fqmij2yujanme65c2m43nr4zun6e6y",
    CHUNK: "bafkreif4nurtdtpovxwerkbyzj7ubntkv2mar3zz3hkgtmpmgettx6kzlu",
    CHUNK + 1: "bafybeihgf5mq3f2we7ulf5nf2ho346f3mkosj4i5622sq4puzkqjg7juue",
    2 * CHUNK: "bafybeibrb5illz5utkslf2mx6zcww5aqpeqibgc2xukei2fcszg3hb52me",
    1_000_000: "bafybeibb3lfngxqumfkigpqbe63piw4fcv2p35vw6rqddiv5ulsjdxgaom",
    174 * CHUNK: "bafybeic3zi2bdohrw6mvcyzpp7uq2z2x6v4g7pj4mzcfv3gjptah3xprmi",
    174 * CHUNK + 1: "bafybeib3kohdqiowxhmuxg53ijgapsemrfpcf6sy5yceue5to5jbwkf7ym",
    175 * CHUNK + 5: "bafybeicdg7klpiymphkl3xq5fc7padpyob3vbqp4cs32yulwpkmsuodedq",
}


@pytest.mark.parametrize("size", KNOWN)
def test_a_blob_has_the_name_that_ipfs_gives_it(size: int) -> None:
    hashed = hash_bytes(pattern(size))
    assert (hashed.cid, hashed.size) == (KNOWN[size], size)


def test_a_small_blob_is_named_by_its_sha256() -> None:
    cid = parse_cid(raw_cid(b"hello world"))
    assert cid.digest.hex() == "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
    assert str(cid).startswith("bafkrei")
    assert raw_cid(b"") == EMPTY == KNOWN[0]


def test_a_cid_survives_parsing() -> None:
    for text in KNOWN.values():
        assert str(parse_cid(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH",
        "../../../../etc/passwd",
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvykv",  # spare bits set: a second name for one blob
        "BAFKREIHDWDCEFGH4DQKJV67UZCMW7OJEE6XEDZDETOJUZJEVTENXQUVYKU",
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvykU",
        "b" + "a" * 58,
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyk\n",
        "é" * 59,
    ],
)
def test_anything_but_a_canonical_cid_is_refused(text: str) -> None:
    with pytest.raises(BlobError) as caught:
        parse_cid(text)
    assert caught.value.code == "blob.cid"
    assert caught.value.hint


@given(st.text(max_size=70))
def test_parsing_never_fails_otherwise(text: str) -> None:
    try:
        cid = parse_cid(text)
    except BlobError:
        return
    assert str(cid) == text


def test_digests_that_do_not_fit_the_size_make_no_tree() -> None:
    with pytest.raises(ValueError, match="digests"):
        root_cid(b"x" * DIGEST, CHUNK + 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 174 * 174 + 400))
def test_walking_a_tree_meets_every_leaf_once_and_in_order(leaves: int) -> None:
    tree = layers(bytes(leaves * DIGEST), leaves * CHUNK)
    walked = list(preorder(tree))
    assert len(walked) == sum(map(len, tree))
    assert [place for node, place in walked if not node.block] == list(range(leaves))
    assert walked[0][0] is tree[-1][0]
    assert tree[-1][0].size == leaves * CHUNK
