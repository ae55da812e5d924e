"""The engine that users write against: nodes, pipelines of them, and what runs them. Runs in a plain test."""

from pipelines.arrivals import AwaitedType, WaitState
from pipelines.concurrent import Branches, ConcurrentNode
from pipelines.context import TaskContext
from pipelines.description import NodeDescription, PipelineDescription
from pipelines.errors import PipelineError
from pipelines.execution import execute
from pipelines.journal import Journal, MemoryJournal, NodeRecord
from pipelines.limits import Limit, Rate
from pipelines.mapping import MapNode
from pipelines.node import Node
from pipelines.pipeline import Pipeline
from pipelines.problems import FieldProblem
from pipelines.registry import PipelineRegistry
from pipelines.retry import NodeTimeoutError, RetryPolicy, decide
from pipelines.router import Route, RouterNode
from pipelines.schema import EventSchema
from pipelines.slo import Slo, Target
from pipelines.stop import Stop
from pipelines.sub_pipeline import SubPipeline
from pipelines.waiting import Sleep, WaitForEvent

__all__ = [
    "AwaitedType",
    "Branches",
    "ConcurrentNode",
    "EventSchema",
    "FieldProblem",
    "Journal",
    "Limit",
    "MapNode",
    "MemoryJournal",
    "Node",
    "NodeDescription",
    "NodeRecord",
    "NodeTimeoutError",
    "Pipeline",
    "PipelineDescription",
    "PipelineError",
    "PipelineRegistry",
    "Rate",
    "RetryPolicy",
    "Route",
    "RouterNode",
    "Sleep",
    "Slo",
    "Stop",
    "SubPipeline",
    "Target",
    "TaskContext",
    "WaitForEvent",
    "WaitState",
    "decide",
    "execute",
]
