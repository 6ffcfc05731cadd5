"""What can be found out about a host, one rule a file; each rule answers with the labels that it is sure of."""

from agent.platforms.rules import docker, gpu, wifi

LABELS = (docker.labels, gpu.labels, wifi.labels)

__all__ = ["LABELS"]
