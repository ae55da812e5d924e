"""The commands for who writes pipelines."""

import asyncio
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from settings import load_settings
from throughline.cli.database import Data, data_hint, reachable, settings_for
from throughline.cli.output import console, plain, say_error

if TYPE_CHECKING:
    from events import JsonValue
    from pipelines import Pipeline
    from throughline.trial import Tried

Name = Annotated[str, typer.Argument(help="The pipeline's name.")]
_LONGEST_OUTPUT = 2_000


class GraphFormat(StrEnum):
    """What a graph is written as."""

    MERMAID = "mermaid"
    SVG = "svg"


def new(
    name: Annotated[str, typer.Argument(help="The pipeline's name: lower-case letters, digits and underscores.")],
    *,
    into: Annotated[
        Path | None,
        typer.Option(help="The folder of the module; by default pipelines/flows/, or here where that isn't."),
    ] = None,
    tests: Annotated[Path | None, typer.Option(help="The folder of its test; by default beside the others.")] = None,
) -> None:
    """Write a pipeline that works, and its test, to begin with; nothing that is there is overwritten."""
    from throughline.making import make_pipeline

    made = make_pipeline(name, into=into, tests=tests)
    for path in made.files:
        console.print(f"made {path}", markup=False, soft_wrap=True)
    console.print("\nnext:", style="bold")
    for said, command in made.next_steps:
        console.print(f"  # {said}\n  {command}", markup=False, soft_wrap=True)


def graph(
    name: Name,
    *,
    format_: Annotated[GraphFormat, typer.Option("--format", help="Mermaid text, or a picture.")] = GraphFormat.MERMAID,
    output: Annotated[Path | None, typer.Option(help="A file, instead of standard output.")] = None,
    run_id: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="Colour the picture by how this run's nodes ended.")
    ] = None,
    data: Data = None,
) -> None:
    """Draw a pipeline: its nodes, the ways between them, and what leads where."""
    from pipelines.drawing import mermaid, picture_of, svg

    picture, statuses = picture_of(_pipeline(name)), _statuses(run_id, data) if run_id else {}
    text = mermaid(picture, statuses=statuses)
    if format_ is GraphFormat.SVG:
        text = svg(picture, name=name, statuses=statuses)
    if output is None:
        typer.echo(text, nl=False)
        return
    from throughline.cli.files import write_files

    write_files(output.parent, {output.name: text})
    console.print(f"wrote {output}", markup=False, soft_wrap=True)


def _statuses(run_id: str, data: Path | None) -> dict[str, str]:
    from events import DEFAULT_TENANT
    from storage.finding import IdPrefix, look_up
    from storage.runs import RunStory

    settings, prefix = settings_for(data), IdPrefix.parse(run_id)
    if prefix is not None:
        with reachable(settings.database, hint=data_hint()):
            found = asyncio.run(look_up(settings.database, prefix, tenant=DEFAULT_TENANT))
        if isinstance(found.story, RunStory):
            return {node.node: node.status.value for node in found.story.run.nodes if not node.item}
    say_error(f"no run has the id {plain(run_id)}")
    raise typer.Exit(1)


def run(  # noqa: PLR0913 - what one may choose of a trial
    name: Name,
    event: Annotated[Path, typer.Argument(help="A JSON file with an event as it is posted, or - for standard input.")],
    *,
    effects: Annotated[
        bool, typer.Option("--effects", help="Really call nodes with effects; without it their outputs are made up.")
    ] = False,
    output: Annotated[
        list[str] | None, typer.Option(metavar="NODE=JSON", help="What a node gives back, instead of being called.")
    ] = None,
    arriving: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A JSON file with an event that waits may end with.")
    ] = None,
    expire: Annotated[
        bool, typer.Option("--expire", help="A wait for an event that wasn't given ends as if its time were over.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as GET /runs/{run_id} answers.")] = False,
) -> None:
    """Run a pipeline on an event in this process, with nothing started; 0 only when the run succeeded.

    Retries follow at once and sleeps end at once.
    """
    from events import Succeeded
    from throughline.trial import Answers, read_event, story_of, try_out

    pipeline, posted = _pipeline(name), read_event(event)
    _require_taken(pipeline, posted.type, posted.data)
    answers = Answers(pipeline, given=dict(_given(one) for one in output or ()), effects=effects)
    came = [read_event(path) for path in arriving or ()]
    tried = asyncio.run(try_out(pipeline, posted, answers=answers, arriving=came, expire=expire))
    if as_json:
        typer.echo(json.dumps(story_of(tried), indent=2, ensure_ascii=False))
    else:
        _show(tried)
    if not isinstance(tried.outcome, Succeeded):
        raise typer.Exit(1)


def _require_taken(pipeline: "Pipeline[Any]", type_: str, data: "JsonValue") -> None:
    """Refuse what the API would not hand to the pipeline."""
    from pipelines import PipelineRegistry

    registry = PipelineRegistry([pipeline])
    if not registry.route(type_):
        say_error(f"pipeline {pipeline.name!r} takes {', '.join(pipeline.types)}, not {plain(type_)}")
        raise typer.Exit(1)
    problems = registry.validate(type_, data)
    for problem in problems:
        say_error(f"{'.'.join(map(str, problem.path))}: {problem.message}")
    if problems:
        raise typer.Exit(1)


def _given(text: str) -> tuple[str, "JsonValue"]:
    name, equals, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        wanted = "" if equals else " (there is no =)"
        raise typer.BadParameter(f"--output {plain(text)}: give NODE=JSON{wanted}") from None


def _show(tried: "Tried") -> None:
    from throughline.timeline import show_run
    from throughline.trial import story_of

    story = story_of(tried)
    not_called = {name for name, why in story["stood_in"].items()}
    for node in story["nodes"]:
        node["status"] = "not called" if node["node"] in not_called else node["status"]
    show_run(story)
    outputs = {(node["node"], node["item"]): node["output"] for node in story["nodes"] if not node["error"]}
    console.print("\noutputs", style="dim")
    for (name, item), value in outputs.items():
        if value is not None:
            label = f"{name}[{item}]" if item else name
            text = plain(json.dumps(value, ensure_ascii=False))[:_LONGEST_OUTPUT]
            console.print(f"  {escape(label)}  {escape(text)}", soft_wrap=True)
    for name, why in story["stood_in"].items():
        console.print(f"  {escape(name)}: {why}", style="yellow", soft_wrap=True)
    if awaited := story["awaits"]:
        said = f"waits for an event of type {awaited['type']} whose {awaited['path']} is {awaited['key']!r}"
        console.print(f"  {plain(said)}; give it with --arriving FILE", style="yellow", markup=False, soft_wrap=True)


def check(
    modules: Annotated[
        list[str] | None, typer.Argument(help="Modules or packages; by default those that the settings name.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Import pipelines and tell every mistake that can be found, one a line; 1 when there is any."""
    from throughline.checking import Level, check_modules

    settings = load_settings()
    names = tuple(modules or settings.pipelines.modules)
    builtin = settings.pipelines.builtin and not modules
    report = check_modules(names, builtin=builtin, worker=settings.worker)
    if as_json:
        typer.echo(
            json.dumps({"pipelines": list(report.pipelines), "findings": [one.as_dict() for one in report.findings]})
        )
    else:
        for finding in report.findings:
            style = "red" if finding.level is Level.ERROR else "yellow"
            console.print(str(finding), style=style, markup=False, soft_wrap=True)
        console.print(report.summary, markup=False, soft_wrap=True)
    if report.failed:
        raise typer.Exit(1)


def _pipeline(name: str) -> "Pipeline[Any]":
    from throughline.cli.nothing import near_names
    from throughline.local.pipelines import require_pipelines

    registry = require_pipelines(load_settings().pipelines)
    found = registry.get(name)
    if found is None:
        names = [pipeline.name for pipeline in registry.pipelines]
        near = ", ".join(near_names(name, names) or names) or "none"
        say_error(f"there is no pipeline {plain(name)}; there is {near}")
        raise typer.Exit(1)
    return found


def register(app: typer.Typer) -> None:
    """Add the commands to those of ``throughline pipelines``."""
    for command in (new, graph, run, check):
        app.command()(command)
