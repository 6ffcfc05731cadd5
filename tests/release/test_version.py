"""Versions: their form and their order."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.release import Version

ORDERED = [
    "0.0.1", "0.1.0-alpha", "0.1.0-alpha.1", "0.1.0-alpha.beta", "0.1.0-beta", "0.1.0-beta.2", "0.1.0-beta.11", "0.1.0-rc.1",
    "0.1.0", "0.1.1-1", "0.1.1-a", "0.1.1", "0.2.0", "0.10.0", "1.0.0", "2.0.0", "10.0.0",
]  # fmt: skip
texts = st.builds(
    lambda a, b, c, pre: f"{a}.{b}.{c}" + (f"-{'.'.join(pre)}" if pre else ""),
    st.integers(0, 3), st.integers(0, 30), st.integers(0, 3),
    st.lists(st.from_regex(r"(0|[1-9][0-9]?|[a-z][0-9a-z]{0,3})", fullmatch=True), max_size=3),
)  # fmt: skip


def test_versions_are_ordered_as_semver_says() -> None:
    assert all(Version(a) < Version(b) and not Version(b) < Version(a) for a, b in pairwise(ORDERED))
    assert [v.text for v in sorted(map(Version, reversed(ORDERED)))] == ORDERED


@given(texts, texts)
def test_two_versions_are_equal_or_in_one_order(a: str, b: str) -> None:
    one, other = Version(a), Version(b)
    assert (one < other) + (other < one) + (one == other) == 1


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+b", "v1.2.3", "1.2.3\n", "1.2.3-RC1", "1.2.x",
     "1.2.3-a..b", "9999999.0.0", "1.2.3-" + "a" * 64, "../1.2.3", "1.2.3 "],
)  # fmt: skip
def test_a_text_that_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        Version(text)
    assert error.value.code == "release.version"
