from collections.abc import Iterator

from pipelines import PipelineError, PipelineRegistry
from settings import Settings
from throughline.doctor.finding import Finding, Verdict


def examine_pipelines(settings: Settings) -> Iterator[Finding]:
    """Load the pipelines as the processes do."""
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
