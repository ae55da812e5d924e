import json
from dataclasses import dataclass

from pipelines import PipelineRegistry
from settings import WorkerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class UnservedQueue:
    """A queue that no worker with these settings consumes, the pipelines whose runs wait in it, and what to set."""

    queue: str
    pipelines: tuple[str, ...]
    mend: str

    def __str__(self) -> str:
        """One line, without the mend."""
        plural = "s" if len(self.pipelines) > 1 else ""
        return f"pipeline{plural} {', '.join(self.pipelines)}: no worker takes runs from queue {self.queue!r}"


def unserved_queues(registry: PipelineRegistry, settings: WorkerSettings) -> list[UnservedQueue]:
    """List the queues of pipelines, also of older versions, that workers with these settings leave alone.

    The cell has a worker of its own.
    """
    waiting: dict[str, list[str]] = {}
    for pipeline in registry.every:
        names = waiting.get(pipeline.queue, [])
        if pipeline.queue not in {*settings.queues, settings.cell_queue} and pipeline.name not in names:
            waiting[pipeline.queue] = [*names, pipeline.name]
    mend = f"THROUGHLINE_WORKER_QUEUES='{json.dumps([*settings.queues, *waiting])}'"
    return [UnservedQueue(queue=queue, pipelines=tuple(names), mend=mend) for queue, names in waiting.items()]
