"""Cameras of this node: a book of them, and photos from each within a deadline."""

from __future__ import annotations

from agent.executors.camera.book import CameraBook, Photo, ShootFailed
from agent.executors.camera.probe import Device, probe
from agent.executors.camera.spec import Camera, masked

__all__ = ["Camera", "CameraBook", "Device", "Photo", "ShootFailed", "masked", "probe"]
