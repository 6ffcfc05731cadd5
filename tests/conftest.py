"""Fixtures and settings of all tests."""

from __future__ import annotations

import hypothesis

# No test asserts a time: a busy machine is no failure.
hypothesis.settings.register_profile("edge", deadline=None)
hypothesis.settings.load_profile("edge")
