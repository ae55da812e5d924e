import importlib.util
import json
import keyword
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from events import ConfigurationError
from pipelines.checks import check_name
from throughline.errors import FolderUnusable
from throughline.making.templates import FLOW, PACKAGE, TEST, imports

_BUILTIN: Final = Path("pipelines/flows")
_BUILTIN_TESTS: Final = Path("tests/unit/pipelines/flows")
_ENGINE_IMPORT: Final = "from pipelines import EventSchema, Node, Pipeline, Route, RouterNode, TaskContext"
_TEST_IMPORTS: Final = ("from events import JsonValue", "from pipelines.testing import event, run")
_MADE: Final = "Assess, ByAmount, Notice, Notify, Summarise, pipeline"
_PART: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class NotOverwritten(ConfigurationError):  # noqa: N818 - what is the matter, not that it is an error
    """Something stands where a file was to be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The files that were written, and what to do next: what for, and the command."""

    files: tuple[Path, ...]
    next_steps: tuple[tuple[str, str], ...]


def make_pipeline(name: str, *, into: Path | None = None, tests: Path | None = None) -> Made:
    """Write a pipeline and its test; both or, where anything stands there already, neither.

    Raises:
        PipelineError: the name is none.
        NotOverwritten: a file of that name is there.
        ConfigurationError: Python can't import from the folder, or nothing of that name from there.
        FolderUnusable: a file can't be written.

    """
    check_name("the pipeline's name", name)
    folder = into or (_BUILTIN if _BUILTIN.is_dir() else Path())
    package = _package(folder)
    test_folder = tests or (_BUILTIN_TESTS if folder == _BUILTIN and _BUILTIN_TESTS.is_dir() else Path("tests"))
    module, flow, test = ".".join((*package, name)), folder / f"{name}.py", test_folder / f"test_{name}.py"
    files = dict(zip((flow, test), _texts(name, module), strict=True))
    for path in files:
        if path.exists():
            raise NotOverwritten(f"{path} is there already; choose another name, or remove it")
    _check_importable(name, package)
    inits = [Path(*package[: depth + 1]) / "__init__.py" for depth in range(len(package))]
    files = {path: PACKAGE for path in inits if not path.exists()} | files
    _write(files)
    return Made(files=tuple(files), next_steps=tuple(_next(name, test, module="" if folder == _BUILTIN else module)))


def _texts(name: str, module: str) -> tuple[str, str]:
    """Return the text of the flow and that of its test."""
    words = {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "type": f"{name}.received",
        "schema": f"{''.join(word.capitalize() for word in name.split('_'))}Received",
    }
    beside = Path("pipelines/pipeline.py").exists()
    flow = imports((_ENGINE_IMPORT,), ("from pydantic import BaseModel",), beside=beside)
    test = imports((*_TEST_IMPORTS, f"from {module} import {_MADE}"), ("import pytest",), beside=beside)
    return FLOW.substitute(words, imports=flow), TEST.substitute(words, imports=test)


def _check_importable(name: str, package: tuple[str, ...]) -> None:
    """Refuse a module that no ``import`` can name, or that would hide another of that name."""
    if keyword.iskeyword(name):
        raise ConfigurationError(f"{name!r} is a word of Python's, so no module can be named so; choose another name")
    if not package and importlib.util.find_spec(name) is not None:
        raise ConfigurationError(
            f"a module {name!r} is installed, which {name}.py would hide; choose another name, or a folder with --into"
        )


def _package(folder: Path) -> tuple[str, ...]:
    """Return the package that a folder is, as it is imported from here."""
    try:
        parts = folder.resolve().relative_to(Path.cwd().resolve()).parts
    except ValueError:
        raise ConfigurationError(
            f"{folder} is not beneath this folder; go to where your modules are imported from"
        ) from None
    for part in parts:
        if not _PART.fullmatch(part) or keyword.iskeyword(part):
            raise ConfigurationError(f"{folder} can't be imported from: {part!r} is no name of a package")
    return parts


def _write(files: dict[Path, str]) -> None:
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise FolderUnusable(f"{error.filename} can't be written: {error.strerror}") from error


def _next(name: str, test: Path, *, module: str) -> Iterator[tuple[str, str]]:
    body = json.dumps({"type": f"{name}.received", "data": {"id": "A-7", "amount": 2500}})
    if module:
        yield "let every command and process find it", f"export THROUGHLINE_PIPELINES_MODULES='{json.dumps([module])}'"
    yield "run it on an event, with nothing started", f"echo {shlex.quote(body)} | throughline pipelines run {name} -"
    yield "test it", f"python -m pytest {test}"
    yield "see it", f"throughline pipelines graph {name} --format svg --output {name}.svg"
    yield "look for mistakes", "throughline pipelines check"
