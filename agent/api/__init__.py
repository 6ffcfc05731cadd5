"""The local HTTP API on a unix socket. Faces: `AgentFacade` (what it asks of the agent) and `serve_api`."""

from agent.api.facade import AgentFacade
from agent.api.server import make_app, serve_api

__all__ = ["AgentFacade", "make_app", "serve_api"]
