"""Runs pipelines and nodes in a plain test, with nothing started and no time passing."""

from pipelines.testing.answers import ScriptError
from pipelines.testing.clock import FakeClock
from pipelines.testing.failures import failure
from pipelines.testing.life import Attempt, Wait
from pipelines.testing.making import event
from pipelines.testing.one_node import run_node
from pipelines.testing.result import Result
from pipelines.testing.running import run
from pipelines.testing.script import in_turn

__all__ = [
    "Attempt",
    "FakeClock",
    "Result",
    "ScriptError",
    "Wait",
    "event",
    "failure",
    "in_turn",
    "run",
    "run_node",
]
