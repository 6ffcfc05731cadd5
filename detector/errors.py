"""What the detector refuses. It runs in its own image, without the agent, so it has its own small tree."""

from __future__ import annotations


class DetectorError(Exception):
    """Base of all errors that the detector raises on purpose; the text is for the user."""


class ModelError(DetectorError):
    """A model or its manifest is missing, damaged, or not of the kind that it claims."""


class ImageError(DetectorError):
    """A picture cannot be read; final for its event."""
