"""A file gives the same document and the same version hash as with the previous version of the agent.

The previous version's loader made `corpus/previous.json` from the files beside it. Its documents have no `text`.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.support import decode_pipeline, load_pipeline

CORPUS = Path(__file__).parent / "corpus"
PREVIOUS: dict[str, dict[str, str]] = msgspec.json.decode((CORPUS / "previous.json").read_bytes())


def test_every_file_of_the_corpus_is_pinned() -> None:
    assert {f.stem for f in CORPUS.glob("*.yaml")} == set(PREVIOUS)


@pytest.mark.parametrize("name", PREVIOUS)
def test_a_file_gives_the_document_of_the_previous_version(name: str) -> None:
    made = load_pipeline((CORPUS / f"{name}.yaml").read_text())
    document = msgspec.json.encode(msgspec.structs.replace(made, text=""))
    assert document.decode() == PREVIOUS[name]["document"]
    assert made.version == PREVIOUS[name]["version"]


@pytest.mark.parametrize("name", PREVIOUS)
def test_a_document_of_the_previous_version_decodes(name: str) -> None:
    made = decode_pipeline(PREVIOUS[name]["document"].encode())
    assert made.version == PREVIOUS[name]["version"]
    assert msgspec.json.encode(made).decode() == PREVIOUS[name]["document"]
    assert made == msgspec.structs.replace(load_pipeline((CORPUS / f"{name}.yaml").read_text()), text="")
