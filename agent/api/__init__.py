"""The local HTTP API on a unix socket. Faces: `AgentFacade` (what it asks of the agent) and `serve_api`."""

from agent.api.facade import AgentFacade

__all__ = ["AgentFacade"]
