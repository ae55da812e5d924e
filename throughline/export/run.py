"""The text of a test that replays a stored run."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from events import Event, FailureKind, JsonValue, NodeStatus, RunStatus
from pipelines import Pipeline, PipelineRegistry
from pipelines.kinds import Kind
from pipelines.testing.ways import way
from settings.version import VERSION
from storage.past_runs import PastRun
from throughline.export.hiding import Hiding, without_secrets
from throughline.export.literals import literal, quoted
from throughline.export.place import Place, place_of
from throughline.export.scripting import NotExportable, Scripted, scripted

LARGE: Final = 8_000
"""Characters of an event's data from which on it stands in a file beside the test."""

_REPLAYABLE: Final = frozenset(
    {FailureKind.ERROR, FailureKind.TIMEOUT, FailureKind.INVALID_OUTPUT, FailureKind.INVALID_EVENT}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A test, and the event's data where it stands beside it; ``left_out`` are the places of what was hidden."""

    name: str
    text: str
    data: str | None
    left_out: tuple[str, ...]


def export_run(past: PastRun, registry: PipelineRegistry, *, beside: str | None = None) -> Exported:
    """Write a run as a test; ``beside`` is the name of the file that large data may go to.

    Raises:
        NotExportable: it has not ended, or as no test can show; its pipeline isn't in the code, or is another by now.

    """
    pipeline = _pipeline(past, registry)
    place = place_of(pipeline)
    if place is None:
        raise NotExportable(f"pipeline {pipeline.name!r} stands under no name in its module; give it one to import")
    writing = _Writing(past, pipeline, place, beside)
    return writing.exported()


def _pipeline(past: PastRun, registry: PipelineRegistry) -> Pipeline[Any]:
    run = past.run
    if run.finished_at is None:
        raise NotExportable(f"run {run.run_id} has not ended: it is {run.status}")
    if run.status is RunStatus.CANCELLED:
        raise NotExportable(f"run {run.run_id} was cancelled, which no test of its pipeline can show")
    if run.failure_kind is not None and (run.failure_kind not in _REPLAYABLE or _is_nobodys(past)):
        raise NotExportable(f"run {run.run_id} failed as {run.failure_kind} outside its nodes: no test can show it")
    pipeline = registry.get(run.pipeline, run.pipeline_version) or registry.get(run.pipeline)
    if pipeline is None:
        raise NotExportable(
            f"run {run.run_id} is of pipeline {run.pipeline!r}, which is not in the code here "
            "(THROUGHLINE_PIPELINES_MODULES)"
        )
    gone = [node.node for node in run.nodes if node.node not in pipeline.all_steps]
    if gone:
        raise NotExportable(
            f"run {run.run_id} went through node {gone[0]!r}, which version {pipeline.version} of pipeline "
            f"{pipeline.name!r} has no more; export it with the code of version {run.pipeline_version}"
        )
    return pipeline


def _is_nobodys(past: PastRun) -> bool:
    error = past.run.error or {}
    return past.run.failure_kind is not FailureKind.INVALID_EVENT and error.get("node") is None


class _Writing:
    def __init__(self, past: PastRun, pipeline: Pipeline[Any], place: Place, beside: str | None) -> None:
        self._past = past
        self._run = past.run
        self._pipeline = pipeline
        self._place = place
        self._hiding = Hiding()
        self._event_shown = without_secrets(past.event, self._hiding, path="event")
        self._data = self._hiding.hide(past.event.data, "data")
        self._script = tuple(scripted(past, pipeline, self._hiding))
        self._arriving = self._arrived()
        self._outputs = self._asserted()
        large = beside is not None and len(json.dumps(self._data)) > LARGE
        self._beside = beside if large else None
        self.name = f"test_run_{past.run.run_id.hex}"

    def _asserted(self) -> dict[str, JsonValue]:
        """Return the outputs that the test can ask for: those that nothing was left out of."""
        found: dict[str, JsonValue] = {}
        for node in self._run.nodes:
            if node.item == 0 and node.status is NodeStatus.SUCCEEDED:
                hiding = Hiding()
                output = hiding.hide(node.output, f"outputs.{node.node}")
                self._hiding.left_out.extend(one for one in hiding.left_out if one not in self._hiding.left_out)
                if not hiding.left_out:
                    found[node.node] = output
        return found

    def exported(self) -> Exported:
        left_out = tuple(dict.fromkeys(self._hiding.left_out))
        data = json.dumps(self._data, indent=2, ensure_ascii=False) + "\n" if self._beside else None
        text = "\n".join([*self._head(left_out), *self._event(), *self._given(), *self._test()])
        return Exported(name=self.name, text=text + "\n", data=data, left_out=left_out)

    def _head(self, left_out: tuple[str, ...]) -> Iterator[str]:
        run, place = self._run, self._place
        yield f'"""Run {run.run_id} of pipeline {run.pipeline}, version {run.pipeline_version}, as a test.'
        yield ""
        yield f"Written by throughline {VERSION}: throughline runs export {run.run_id}."
        if left_out:
            yield ""
            yield "Left out, as it is from log lines (THROUGHLINE_LOG_REDACT); what lacks something isn't compared:"
            yield from (f"  {_harmless(one)}" for one in left_out)
        yield '"""'
        yield ""
        if self._beside:
            yield "import json"
        yield "from datetime import datetime"
        if self._beside:
            yield "from pathlib import Path"
        yield ""
        yield from sorted([f"from {place.module} import {place.name}", *self._imports()])
        yield ""

    def _imports(self) -> Iterator[str]:
        answers = [answer for one in self._script for answer in one.answers]
        if any(answer.startswith("Stop(") for answer in answers):
            yield "from pipelines import Stop"
        found = {"event", "run"}
        found |= {"failure" for answer in answers if answer.startswith("failure(")}
        found |= {"in_turn" for one in self._script if len(one.answers) > 1}
        yield f"from pipelines.testing import {', '.join(sorted(found))}"

    def _event(self) -> Iterator[str]:
        data = literal(self._data, indent=4)
        if self._beside:
            data = f'json.loads(Path(__file__).with_name({quoted(self._beside)}).read_text(encoding="utf-8"))'
        yield f"EVENT = {_event_text(self._event_shown, data)}"
        if self._arriving:
            yield ""
            yield "ARRIVING = ["
            yield from (f"    {text}," for text in self._arriving)
            yield "]"

    def _arrived(self) -> list[str]:
        """Return what ended waits; one event may have ended several."""
        found = {wait.event.event_id: wait.event for wait in self._past.waits if wait.event is not None}
        hidden = {key: self._hiding.hide(one.data, f"arriving.{one.type}") for key, one in found.items()}
        shown = {key: without_secrets(one, self._hiding, path=f"arriving.{one.type}") for key, one in found.items()}
        return [_event_text(one, literal(hidden[key], indent=8), indent=4) for key, one in shown.items()]

    def _given(self) -> Iterator[str]:
        if self._script:
            yield ""
            yield "SCRIPT = {"
            for one in self._script:
                yield from _script_lines(one)
            yield "}"
        yield ""
        yield f"OUTPUTS = {literal(self._outputs, indent=0)}"

    def _test(self) -> Iterator[str]:
        accepted = self._past.accepted_version
        given = "".join(
            [
                ", script=SCRIPT" if self._script else "",
                ", arriving=ARRIVING" if self._arriving else "",
                f", accepted_version={accepted}" if accepted < self._pipeline.version else "",
            ]
        )
        yield ""
        yield ""
        yield f"def {self.name}() -> None:"
        yield f"    result = run({self._place.name}, EVENT{given})"
        yield f"    {self._ending()}"
        side_by_side = any(step.kind is Kind.CONCURRENT for step in self._pipeline.all_steps.values())
        nodes = [quoted(name) for name in self._path()] + (["any_order=True"] if side_by_side else [])
        yield f"    result.assert_path({', '.join(nodes)})"
        yield "    assert {name: result.outputs.get(name) for name in OUTPUTS} == OUTPUTS"

    def _ending(self) -> str:
        if self._run.status is RunStatus.SUCCEEDED:
            return "result.assert_succeeded()"
        error = self._run.error or {}
        node = f", node={quoted(str(error['node']))}" if error.get("node") else ""
        kind, type_ = quoted(str(self._run.failure_kind)), quoted(str(error.get("type")))
        return f"result.assert_failed(kind={kind}{node}, error={type_})"

    def _path(self) -> tuple[str, ...]:
        return way(self._run.nodes, self._pipeline)


def _harmless(text: str) -> str:
    """Return ``text`` as it can stand in a docstring."""
    return ascii(text)[1:-1].replace('"', "'")


def _event_text(event: Event, data: str, *, indent: int = 0) -> str:
    attributes = [quoted(event.type), data, f"id={quoted(event.ce_id)}", f"source={quoted(event.source)}"]
    if event.subject is not None:
        attributes.append(f"subject={quoted(event.subject)}")
    if event.time is not None:
        attributes.append(f'time=datetime.fromisoformat("{event.time.isoformat()}")')
    attributes.append(f'received_at=datetime.fromisoformat("{event.received_at.isoformat()}")')
    inner = " " * (indent + 4)
    return "event(\n" + "".join(f"{inner}{one},\n" for one in attributes) + " " * indent + ")"


def _script_lines(one: Scripted) -> Iterator[str]:
    if not one.effects:
        yield "    # it has no effects: without this line its code is called"
    if len(one.answers) == 1:
        yield f"    {quoted(one.node)}: {one.answers[0]},"
        return
    yield f"    {quoted(one.node)}: in_turn("
    yield from (f"        {answer}," for answer in one.answers)
    yield "    ),"
