import dis
import inspect
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, Final

from pipelines import Pipeline
from pipelines.steps import Step

_BLOCKING: Final = {
    "time": frozenset({"sleep"}),
    "requests": frozenset({"get", "post", "put", "patch", "delete", "head", "request"}),
    "subprocess": frozenset({"run", "call", "check_call", "check_output"}),
}
"""What blocks whoever calls it, by module."""


def blocking_calls(pipelines: Iterable[Pipeline[Any]]) -> Iterator[tuple[tuple[Pipeline[Any], ...], str]]:
    """Yield nodes that are ``async def`` and call what blocks the event loop, and with it all other runs."""
    for pipeline in pipelines:
        for step in pipeline.all_steps.values():
            for called in dict.fromkeys(_blocking_in(step)):
                said = (
                    f"pipeline {pipeline.name!r}, node {step.name!r}: it is async def and calls {called}, which blocks "
                    "all runs of the process; write def, which runs in a thread, or await something else"
                )
                yield (pipeline,), said


def _blocking_in(step: Step) -> Iterator[str]:
    function = getattr(step.node, step.method, None)
    if not inspect.iscoroutinefunction(function):
        return
    module = ""
    for instruction in dis.get_instructions(function):
        if instruction.opname in {"LOAD_ATTR", "LOAD_METHOD"} and instruction.argval in _BLOCKING.get(module, ()):
            yield f"{module}.{instruction.argval}"
        found = function.__globals__.get(instruction.argval) if instruction.opname == "LOAD_GLOBAL" else None
        module = found.__name__ if isinstance(found, ModuleType) else ""
