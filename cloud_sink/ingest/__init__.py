"""Ingest: checks what buildings send, stores it once, and informs the page and the channels."""

from cloud_sink.ingest.intake import Intake
from cloud_sink.ingest.openapi import complete
from cloud_sink.ingest.routes import answer_error, ingest_routes

__all__ = ["Intake", "answer_error", "complete", "ingest_routes"]
