"""The rules of detection: a file for each fact. `labels` of a rule returns the labels that it is sure of."""

from agent.platforms.rules import docker, gpu, memory, radios, system, wifi

LABELS = (docker.labels, gpu.labels, memory.labels, radios.labels, system.labels, wifi.labels)

__all__ = ["LABELS"]
