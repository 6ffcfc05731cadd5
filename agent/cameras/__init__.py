"""Cameras of this node: a book of them, and photos from each within a deadline."""

from __future__ import annotations

from agent.cameras.book import CameraBook, Photo, ShootFailed
from agent.cameras.spec import Camera

__all__ = ["Camera", "CameraBook", "Photo", "ShootFailed"]
