"""The engine that users write against: nodes, pipelines of them, and what runs them. Runs in a plain test."""

from pipelines.context import TaskContext
from pipelines.description import NodeDescription, PipelineDescription
from pipelines.errors import PipelineError
from pipelines.execution import execute
from pipelines.journal import Journal, MemoryJournal, NodeRecord
from pipelines.limits import Limit, Rate
from pipelines.node import Node
from pipelines.pipeline import Pipeline
from pipelines.problems import FieldProblem
from pipelines.registry import PipelineRegistry
from pipelines.retry import NodeTimeoutError, RetryPolicy, decide
from pipelines.router import Route, RouterNode
from pipelines.schema import EventSchema
from pipelines.slo import Slo, Target

__all__ = [
    "EventSchema",
    "FieldProblem",
    "Journal",
    "Limit",
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
    "Slo",
    "Target",
    "TaskContext",
    "decide",
    "execute",
]
