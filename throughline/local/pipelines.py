import sys
from pathlib import Path

from pipelines import PipelineRegistry
from settings import PipelineSettings


def require_pipelines(settings: PipelineSettings) -> PipelineRegistry:
    """Return the pipelines, which are loaded before any process is started that would end because they can't.

    Raises:
        PipelineError: a module can't be imported, has no pipeline, or one is wrong; names it.

    """
    here = str(Path.cwd())
    if "" not in sys.path and here not in sys.path:
        # The processes run as modules, for which Python looks here first; the command's own path need not hold it.
        sys.path.insert(0, here)
    return PipelineRegistry.load(settings.modules, builtin=settings.builtin)
