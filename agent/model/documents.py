"""The kinds of signed documents, as their envelopes name them."""

from __future__ import annotations

PIPELINE = "pipeline"
"""A pipeline, named by its name."""
DEVICE = "device"
"""An operator's decision about a device, named by its MAC."""
LABEL = "label"
"""The labels of a node, named by the node's id."""
SENDER = "sender"
"""An operator's decision about a network that sends logs, named after the network."""
LEARNING = "learning"
"""The end of the learning of a pipeline's presence steps, named by the pipeline."""
