from typing import Any

from celery import Task, shared_task

from worker.app import TASK_NAME
from worker.handover import hand_over


def process_incoming_event(task: Task, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Run the named runs of one pipeline; kwargs are ``tenant``, ``pipeline`` and ``run_ids``."""
    return hand_over(task, args, kwargs)


shared_task(name=TASK_NAME, bind=True)(process_incoming_event)
