"""The page about the configuration is made from the structs, and `show` tells values as users write them."""

from __future__ import annotations

from pathlib import Path

from agent.config import Config, load_config, show_config
from agent.config.document import table
from agent.config.keys import keys, sections

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_holds_the_table_of_the_structs() -> None:
    assert table() in PAGE.read_text(), (
        """run: python -c "from agent.config.document import table; print(table())", and paste the result into the page"""
    )


def test_every_key_and_every_section_is_described() -> None:
    assert all(k.description for k in keys().values())
    assert all(s.__doc__ for s in sections().values())


def test_show_has_every_key_once_with_its_origin() -> None:
    rows = show_config(load_config("/dev/null", {}, {"uplink.status_every": "90s"}))
    assert [r["key"] for r in rows] == list(keys())
    row = next(r for r in rows if r["key"] == "uplink.status_every")
    assert row == {"key": "uplink.status_every", "value": "1m30s", "origin": "option --status-every"}


def test_what_show_prints_can_be_loaded_again() -> None:
    before = load_config("/dev/null", {}, {"name": "x", "blobs.quota": "3GB", "mesh.join": ["a:1"]})
    after = load_config("/dev/null", {}, {r["key"]: r["value"] for r in show_config(before)})
    assert after == Config(
        **{f: getattr(before, f) for f in before.__struct_fields__ if f != "origins"}, origins=after.origins
    )
