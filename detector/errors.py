"""The detector's errors. It runs in its own image, without the agent, so it has its own error classes."""

from __future__ import annotations


class DetectorError(Exception):
    """Base class of all expected errors of the detector; the text is for the user."""


class ModelError(DetectorError):
    """A model or its manifest is missing, damaged, or of another kind than stated."""


class ImageError(DetectorError):
    """A picture cannot be read; a retry of its event does not help."""
