"""A node as the local API sees it."""

from __future__ import annotations

import agent
from agent.delivery import DeliveryEngine
from agent.identity import AdmissionDesk, Identity, TokenBook
from agent.model.node import NodeRecord
from agent.node.facade_nodes import NodeMixin
from agent.node.facade_pipelines import PipelineMixin
from agent.node.facade_status import StatusMixin
from agent.node.facade_things import ThingsMixin
from agent.node.node import Node
from agent.node.resolve import serve_image
from agent.node.step_logs import StepLogs
from agent.node.tail_steps import TailSteps
from agent.steps import Presence, StepKinds


class Agent(StatusMixin, NodeMixin, PipelineMixin, ThingsMixin, Node):
    """A node with the answers to the local API."""

    @property
    def identity(self) -> Identity:
        """The present identity."""
        return self.admission.identity

    @property
    def node_id(self) -> str:
        """This node's id."""
        return self.identity.node_id

    @property
    def version(self) -> str:
        """The version of the agent."""
        return agent.__version__

    @property
    def arch(self) -> str:
        """The architecture of this host."""
        return self.mesh.me.labels.get("arch", "")

    @property
    def pipelines(self) -> DeliveryEngine[StepKinds]:
        """The delivery engine."""
        return self.delivery

    @property
    def presence(self) -> Presence:
        """The devices."""
        return self.delivery.steps.presence

    @property
    def sources(self) -> TailSteps:
        """The logs that this node reads."""
        return self.tail_steps

    @property
    def logs_kept(self) -> StepLogs:
        """The logs of steps."""
        return self.step_logs

    @property
    def desk(self) -> AdmissionDesk | None:
        """The admission desk."""
        return self.admission.desk

    @property
    def tokens(self) -> TokenBook:
        """The tokens."""
        return self.admission.tokens

    def enrol_addresses(self) -> list[str]:
        """Where new nodes join."""
        return self.admission.enrol_addresses()

    def record(self, node_id: str) -> NodeRecord | None:
        """The last record of a node."""
        return next((n for n in self.mesh.known() if n.id == node_id), None)


def make_agent(node: Node) -> Agent:
    """The node with the answers to the local API and to the verbs that go with it."""
    made = Agent(**vars(node))
    made.mesh.serve("docker.image", lambda peer, body: serve_image(made, peer, body))
    made.mesh.serve("device.list", made.serve_devices)
    made.mesh.serve("device.forget", made.serve_forget)
    return made
