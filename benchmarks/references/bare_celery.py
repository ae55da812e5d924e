"""Celery on Redis with an empty task: prefork, no results, no events, prefetch 4."""

import sys
import time
from typing import Any

from celery import Celery

from benchmarks.references.environment import QUEUE, redis_url

app = Celery("bare", broker=redis_url())
app.conf.update(task_ignore_result=True, task_default_queue=QUEUE, worker_prefetch_multiplier=4)


@app.task(name="bare.nothing")  # type: ignore[untyped-decorator]  # Celery has no types
def nothing(_number: int) -> Any:
    """Do nothing."""


def publish(count: int) -> float:
    """Publish so many messages over one connection; return the seconds that it took."""
    began = time.perf_counter()
    with app.producer_or_acquire() as producer:
        for number in range(count):
            nothing.apply_async((number,), producer=producer)
    return time.perf_counter() - began


if __name__ == "__main__":
    print(publish(int(sys.argv[1])))  # noqa: T201 - what the driver reads
