"""Importing modules of pipelines without stopping at the first mistake."""

import importlib
import pkgutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from pipelines import Pipeline, PipelineError
from throughline.checking.finding import Finding


@dataclass(slots=True)
class Loaded:
    """What modules came to: their pipelines, each with the module that it stands in, and what is wrong."""

    pipelines: list[tuple[Pipeline[Any], str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def load(root: str, loaded: Loaded) -> None:
    """Import a module, and all in it if it is a package, and add what is found."""
    before = len(loaded.findings), len(loaded.pipelines)
    for module in _walk(root, loaded):
        known = {id(pipeline) for pipeline, _ in loaded.pipelines}
        here = (value for value in tuple(vars(module).values()) if isinstance(value, Pipeline) and value.steps)
        loaded.pipelines += [(one, module.__name__) for one in here if id(one) not in known]
    if (len(loaded.findings), len(loaded.pipelines)) == before:
        message = "it has no Pipeline at its top level; add one, or take it from the list"
        loaded.findings.append(Finding.of(message, module=root))


def _walk(root: str, loaded: Loaded) -> Iterator[ModuleType]:
    module = _import(root, loaded)
    if module is None:
        return
    yield module
    for inner in sorted(pkgutil.iter_modules(getattr(module, "__path__", ())), key=lambda info: info.name):
        if inner.name != "__main__":
            yield from _walk(f"{root}.{inner.name}", loaded)


def _import(name: str, loaded: Loaded) -> ModuleType | None:
    try:
        with _collecting(name, loaded):
            return importlib.import_module(name)
    except PipelineError as error:
        loaded.findings.append(Finding.of(str(error), module=name, place=_place_of(error, name)))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything
        said = f"it can't be imported ({type(error).__name__}: {error}); mend it, or correct the name"
        loaded.findings.append(Finding.of(said, module=name, place=_place_of(error, name)))
    return None


@contextmanager
def _collecting(module: str, loaded: Loaded) -> Iterator[None]:
    """Let a module go on after a pipeline that is wrong, so that the mistakes in the others are found too."""
    check = Pipeline.__post_init__

    def note(pipeline: Pipeline[Any]) -> None:
        try:
            check(pipeline)
        except PipelineError as error:
            lines = [frame for frame in traceback.extract_stack() if not _is_ours(frame.filename)]
            place = f"{lines[-1].filename}:{lines[-1].lineno}" if lines else ""
            loaded.findings.append(Finding.of(str(error), module=module, place=_short(place)))
            object.__setattr__(pipeline, "steps", MappingProxyType({}))

    setattr(Pipeline, "__post_init__", note)  # noqa: B010 - to mypy it is a method, which is never assigned
    try:
        yield
    finally:
        setattr(Pipeline, "__post_init__", check)  # noqa: B010 - as above


def _is_ours(path: str) -> bool:
    return path == __file__ or path.startswith("<")


def _place_of(error: BaseException, module: str) -> str:
    """Return the last line of the module's own that led to an error; of a syntax error, the line that has it."""
    if isinstance(error, SyntaxError) and error.filename:
        return _short(f"{error.filename}:{error.lineno}")
    origin = getattr(sys.modules.get(module), "__file__", None) or module.rpartition(".")[2] + ".py"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(origin)]
    return _short(f"{own[-1].filename}:{own[-1].lineno}") if own else ""


def _short(place: str) -> str:
    return place.removeprefix(f"{Path.cwd()}/")
