"""The answers of the local API as structs, which the resources, the command line, the documentation and the tests share.

Importing it costs little: it needs msgspec and `agent.model` alone.
"""

from agent.api.results.base import Answer, Failed, Failure, Id, Name
from agent.api.results.events import Branch, EventRow, LogRow, Trace, TraceHop, TracePhoto
from agent.api.results.nodes import (
    DescribedNode,
    LabelledNode,
    ListedNode,
    ListedToken,
    NewToken,
    NodeCapacity,
    Pending,
    RemovedNode,
    RenamedNode,
)
from agent.api.results.pipelines import (
    AppliedPipeline,
    AppliedStep,
    DescribedPipeline,
    ListedPipeline,
    Overrode,
    Paused,
    PipelineDiff,
    PipelineVersion,
    RemovedPipeline,
    Tried,
    Triggered,
)
from agent.api.results.status import (
    BlobUsage,
    CameraState,
    Certificate,
    Check,
    Ends,
    Engines,
    JournalState,
    LastEvent,
    Me,
    MeshState,
    NodeCamera,
    NodeState,
    PipelineState,
    SourceState,
    Status,
    StepState,
    UplinkState,
)
from agent.api.results.things import (
    BlobList,
    Camera,
    CameraTest,
    ConfigValue,
    ConnectedSink,
    Device,
    Egress,
    EgressRow,
    EgressTotal,
    ListedBlob,
    StoredBlob,
)

__all__ = [
    "Answer", "AppliedPipeline", "AppliedStep", "BlobList", "BlobUsage", "Branch", "Camera", "CameraState",
    "CameraTest", "Certificate", "Check", "ConfigValue", "ConnectedSink", "DescribedNode", "DescribedPipeline",
    "Device", "Egress", "EgressRow", "EgressTotal", "Ends", "Engines", "EventRow", "Failed", "Failure", "Id",
    "JournalState", "LabelledNode", "LastEvent", "ListedBlob", "ListedNode", "ListedPipeline", "ListedToken",
    "LogRow", "Me", "MeshState", "Name", "NewToken", "NodeCamera", "NodeCapacity", "NodeState", "Overrode",
    "Paused", "Pending", "PipelineDiff", "PipelineState", "PipelineVersion", "RemovedNode", "RemovedPipeline",
    "RenamedNode", "SourceState", "Status", "StepState", "StoredBlob", "Trace", "TraceHop", "TracePhoto", "Tried",
    "Triggered", "UplinkState",
]  # fmt: skip
