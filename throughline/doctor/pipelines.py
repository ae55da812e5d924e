from collections.abc import Iterator

from pipelines import PipelineError, PipelineRegistry
from settings import Settings
from throughline.doctor.finding import Finding, Verdict
from throughline.unserved import unserved_queues


def examine_pipelines(settings: Settings) -> Iterator[Finding]:
    """Load the pipelines as the processes do, and see that the workers' settings name their queues."""
    try:
        registry = PipelineRegistry.load(settings.pipelines.modules, builtin=settings.pipelines.builtin)
    except PipelineError as error:
        yield Finding(subject="pipelines", verdict=Verdict.BAD, said=str(error), mend="mend the pipeline named")
        return
    names = ", ".join(pipeline.name for pipeline in registry.pipelines)
    if names:
        yield Finding(subject="pipelines", verdict=Verdict.GOOD, said=names)
    else:
        mend = "name a module with pipelines in THROUGHLINE_PIPELINES_MODULES"
        yield Finding(subject="pipelines", verdict=Verdict.WARNING, said="none: every event is unrouted", mend=mend)
    if not settings.worker.cell:
        yield from _queues(registry, settings)


def _queues(registry: PipelineRegistry, settings: Settings) -> Iterator[Finding]:
    for unserved in unserved_queues(registry, settings.worker):
        mend = f"set {unserved.mend}, unless other workers take it"
        yield Finding(
            subject=f"queue {unserved.queue}", verdict=Verdict.WARNING, said=f"{unserved}, as set here", mend=mend
        )
