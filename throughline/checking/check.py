from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pipelines import Pipeline, PipelineError, PipelineRegistry
from pipelines.discovery import BUILTIN
from settings import WorkerSettings
from throughline.checking.blocking import blocking_calls
from throughline.checking.contradictions import contradictions
from throughline.checking.finding import Finding, Level
from throughline.checking.loading import Loaded, load
from throughline.checking.patience import endless_waits
from throughline.importing import look_here
from throughline.unserved import unserved_queues


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found in modules of pipelines: the names of the good ones, and what is wrong."""

    pipelines: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        """Whether there is any error."""
        return any(one.level is Level.ERROR for one in self.findings)

    @property
    def summary(self) -> str:
        """One line."""
        errors = sum(one.level is Level.ERROR for one in self.findings)
        warnings = len(self.findings) - errors
        found = ", ".join(self.pipelines) or "no pipeline"
        return f"{found}: {_count(errors, 'error')}, {_count(warnings, 'warning')}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def check_modules(names: Iterable[str], *, builtin: bool, worker: WorkerSettings) -> Report:
    """Import modules and say all that is wrong with the pipelines in them, or will surprise somebody.

    ``worker`` says which queues are consumed; ``builtin`` takes in those of ``pipelines/flows/``.
    """
    look_here()
    loaded = Loaded()
    for name in dict.fromkeys((*((BUILTIN,) if builtin else ()), *names)):
        load(name, loaded)
    findings = [*loaded.findings, *_together(loaded, worker)]
    return Report(pipelines=tuple(sorted({one.name for one, _ in loaded.pipelines})), findings=tuple(findings))


def _together(loaded: Loaded, worker: WorkerSettings) -> Iterator[Finding]:
    """Yield what is wrong with pipelines that are right each by itself."""
    modules = {id(pipeline): module for pipeline, module in loaded.pipelines}
    every = [pipeline for pipeline, _ in loaded.pipelines]
    try:
        registry = PipelineRegistry(every)
    except PipelineError as error:
        named = _modules([one for one in every if repr(one.name) in str(error)] or every, modules)
        yield Finding.of(f"{error} ({named})", module=named)
        return
    for unserved in unserved_queues(registry, worker):
        of = [pipeline for pipeline in every if pipeline.name in unserved.pipelines]
        mend = f"{unserved}, as set here; set {unserved.mend}, unless other workers take it"
        yield Finding.of(mend, module=_modules(of, modules), level=Level.WARNING)
    for pipelines, said in dict.fromkeys((*contradictions(every), *endless_waits(every), *blocking_calls(every))):
        yield Finding.of(said, module=_modules(pipelines, modules), level=Level.WARNING)


def _modules(pipelines: Iterable[Pipeline[Any]], modules: dict[int, str]) -> str:
    return ", ".join(dict.fromkeys(modules[id(one)] for one in pipelines))
