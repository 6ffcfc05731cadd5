"""Pipelines as written: loading, checking, schema, expressions, and the versions that are applied."""

from agent.definitions.advice import advice
from agent.definitions.checking import decode_pipeline
from agent.definitions.expressions import key_of, passes
from agent.definitions.loading import load_pipeline
from agent.definitions.schema import json_schema
from agent.definitions.store import Definitions

__all__ = ["Definitions", "advice", "decode_pipeline", "json_schema", "key_of", "load_pipeline", "passes"]
