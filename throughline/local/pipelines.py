from pipelines import PipelineRegistry
from settings import PipelineSettings
from throughline.importing import look_here


def require_pipelines(settings: PipelineSettings) -> PipelineRegistry:
    """Return the pipelines, which are loaded before any process is started that would end because they can't.

    Raises:
        PipelineError: a module can't be imported, has no pipeline, or one is wrong; names it.

    """
    look_here()
    return PipelineRegistry.load(settings.modules, builtin=settings.builtin)
