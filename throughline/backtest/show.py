import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Protocol

import typer
from rich.markup import escape

from events import JsonValue
from pipelines import Pipeline
from throughline.backtest.comparing import Compared
from throughline.backtest.differences import Difference, Nothing
from throughline.cli.output import console, duration, plain
from throughline.export.hiding import Hiding

_MOST_SHOWN: Final = 8
_LONGEST_VALUE: Final = 60
_MOST_PLACES: Final = 20


@dataclass(slots=True)
class Summary:
    """What came of all runs. ``places`` counts the runs that differ in each place."""

    compared: int = 0
    differing: int = 0
    not_run: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    production_seconds: float = 0.0
    code_seconds: float = 0.0

    def add(self, compared: Compared) -> None:
        """Count one."""
        self.compared += 1
        self.differing += bool(compared.differences)
        self.not_run += compared.not_run is not None
        self.places.update({difference.path for difference in compared.differences})
        self.production_seconds += compared.production.seconds
        self.code_seconds += compared.code.seconds


class Shown(Protocol):
    """How the comparisons are told."""

    def one(self, compared: Compared) -> None:
        """Tell one."""

    def end(self, summary: Summary) -> None:
        """Tell what came of all."""


class Table:
    """For people: a line a run, and below it what differs."""

    def __init__(self, pipeline: Pipeline[Any]) -> None:
        console.print(f"pipeline {pipeline.name}, version {pipeline.version}, on the events of past runs")
        console.print(f"{'run':36}  {'received':19}  {'production':12}  {'code':12}  time of the nodes called")

    def one(self, compared: Compared) -> None:
        """See ``Shown``."""
        production, code = compared.production, compared.code
        words = (_word(production.outcome), _word(code.outcome))
        mark = "[yellow]differs[/]" if compared.differences else "[green]same[/]"
        console.print(
            f"{compared.run_id}  {compared.received_at:%Y-%m-%d %H:%M:%S}  {words[0]:12}  {words[1]:12}  "
            f"{duration(production.seconds)} -> {duration(code.seconds)}  {mark}",
            soft_wrap=True,
        )
        if compared.not_run:
            console.print(f"    {escape(plain(compared.not_run))}", soft_wrap=True)
        for difference in compared.differences[:_MOST_SHOWN]:
            console.print(f"    {escape(_line(difference))}", soft_wrap=True)
        if len(compared.differences) > _MOST_SHOWN:
            console.print(f"    and {len(compared.differences) - _MOST_SHOWN} more")

    def end(self, summary: Summary) -> None:
        """See ``Shown``."""
        same = summary.compared - summary.differing
        console.print(f"{summary.compared} runs compared: {summary.differing} differ, {same} are the same")
        if summary.not_run:
            console.print(f"{summary.not_run} could not be run to their end: production stored no output for a node")
        for why, number in summary.left_out.items():
            console.print(f"{number} left out: {why}")
        for place, number in summary.places.most_common(_MOST_PLACES):
            console.print(f"  {number:6}  {escape(plain(place))}", soft_wrap=True)
        times = f"{duration(summary.production_seconds)} in production, {duration(summary.code_seconds)} here"
        console.print(f"the nodes that were called on both sides took {times}")


class Json:
    """For programs: one object, written as it comes."""

    def __init__(self, pipeline: Pipeline[Any]) -> None:
        self._number = count()
        head = json.dumps({"pipeline": pipeline.name, "version": pipeline.version})
        sys.stdout.write(f'{head[:-1]}, "runs": [')

    def one(self, compared: Compared) -> None:
        """See ``Shown``."""
        separator = ",\n" if next(self._number) else "\n"
        sys.stdout.write(separator + json.dumps(_object(compared)))

    def end(self, summary: Summary) -> None:
        """See ``Shown``."""
        told = {
            "compared": summary.compared,
            "differing": summary.differing,
            "not_run": summary.not_run,
            "left_out": dict(summary.left_out),
            "places": dict(summary.places.most_common()),
            "seconds": {"production": summary.production_seconds, "code": summary.code_seconds},
        }
        typer.echo(f'\n], "summary": {json.dumps(told)}}}')


def _object(compared: Compared) -> dict[str, Any]:
    return {
        "run_id": str(compared.run_id),
        "event_id": str(compared.event_id),
        "type": compared.event_type,
        "received_at": compared.received_at.isoformat(),
        **{
            name: {"outcome": side.outcome, "path": list(side.path), "seconds": side.seconds}
            for name, side in (("production", compared.production), ("code", compared.code))
        },
        "not_run": compared.not_run,
        "differences": [
            {"path": one.path}
            | {
                side: _hidden(one, side)
                for side in ("production", "code")
                if not isinstance(getattr(one, side), Nothing)
            }
            for one in compared.differences
        ],
    }


def _word(outcome: str) -> str:
    return outcome.partition(":")[0]


def _line(difference: Difference) -> str:
    if difference.path == "path" and isinstance(difference.production, list) and isinstance(difference.code, list):
        gone = [f"-{one}" for one in difference.production if one not in difference.code]
        new = [f"+{one}" for one in difference.code if one not in difference.production]
        return f"path: {' '.join([*gone, *new])}"
    return f"{plain(difference.path)}: {_value(difference, 'production')} -> {_value(difference, 'code')}"


def _hidden(difference: Difference, side: str) -> JsonValue:
    """Return one side's value without what must stand in no log line."""
    names = ".".join(part for part in difference.path.split(".") if not part.isdigit())
    around, _, key = names.rpartition(".")
    hidden = Hiding().hide({key: getattr(difference, side)}, around, around)
    return hidden[key] if isinstance(hidden, Mapping) else None


def _value(difference: Difference, side: str) -> str:
    if isinstance(getattr(difference, side), Nothing):
        return "nothing"
    text = plain(json.dumps(_hidden(difference, side), ensure_ascii=False))
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
