import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from pipelines.errors import DuplicatePipelineError, NoPipelineError, PipelineError, PipelineImportError
from pipelines.pipeline import Pipeline

BUILTIN = "pipelines.flows"


def discover(modules: Iterable[str], *, builtin: bool) -> tuple[Pipeline[Any], ...]:
    """Import modules, and all in them that are packages, and return the pipelines in them, by name and version.

    Raises:
        PipelineError: a module can't be imported or has no pipeline, a pipeline is wrong, or two have one name and
            version.

    """
    found: dict[tuple[str, int], tuple[Pipeline[Any], str]] = {}
    for root in ((BUILTIN,) if builtin else ()) + tuple(modules):
        here = [(pipeline, module.__name__) for module in _walk(root) for pipeline in _pipelines_in(module)]
        if not here:
            raise NoPipelineError(
                f"module {root!r} has no Pipeline at its top level; add one, or take it from the list"
            )
        for pipeline, module_name in here:
            known, known_in = found.setdefault((pipeline.name, pipeline.version), (pipeline, module_name))
            if known is not pipeline:
                raise DuplicatePipelineError(
                    f"two pipelines are named {pipeline.name!r} and have version {pipeline.version}, in {known_in} and "
                    f"in {module_name}; rename one, or give it another version"
                )
    return tuple(found[key][0] for key in sorted(found))


def _walk(root: str) -> Iterator[ModuleType]:
    module = _import(root)
    yield module
    for inner in sorted(pkgutil.iter_modules(getattr(module, "__path__", ())), key=lambda info: info.name):
        if inner.name != "__main__":
            yield from _walk(f"{root}.{inner.name}")


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except PipelineError as error:
        error.add_note(f"while module {name!r} was imported")
        raise
    except (Exception, SystemExit) as error:
        raise PipelineImportError(
            f"module {name!r} can't be imported ({type(error).__name__}: {error}); "
            "mend it, or correct THROUGHLINE_PIPELINES_MODULES"
        ) from error


def _pipelines_in(module: ModuleType) -> Iterator[Pipeline[Any]]:
    return (value for value in tuple(vars(module).values()) if isinstance(value, Pipeline))
