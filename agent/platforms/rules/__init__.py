"""The rules of detection, one per file; each rule returns the labels that it is sure of."""

from agent.platforms.rules import docker, gpu, wifi

LABELS = (docker.labels, gpu.labels, wifi.labels)

__all__ = ["LABELS"]
