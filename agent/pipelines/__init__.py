"""Pipelines: loading and checking, the journal, delivery between nodes, deciders, presence, trace."""

from agent.delivery.engine import Pipelines
from agent.delivery.journal import Journal
from agent.definitions.loading import load_pipeline
from agent.steps.presence import DeviceInfo
from agent.steps.work import Workshop

__all__ = ["DeviceInfo", "Journal", "Pipelines", "Workshop", "load_pipeline"]
