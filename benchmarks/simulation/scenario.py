from dataclasses import dataclass, field
from typing import Final

from settings import ApiSettings, RelaySettings, WorkerSettings

MOST_CLAIM_MESSAGES: Final = 50
MOST_CLAIM_RUNS: Final = 500
MOST_FINISHES: Final = 200
WRITERS: Final = 2
"""As in ``worker.claiming`` and ``worker.writes``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is simulated. Settings that aren't named here are the defaults.

    Every process has a core of its own, unless ``shared_cores`` are all there is for everything. Events come at
    ``rate`` at random or, with ``connections``, as fast as so many senders get their answers, held back while over
    ``held`` events are open. ``backlog`` events are due at the begin. Pipelines spread over ``queues`` evenly. Each run
    waits ``wait`` seconds for others. Figures are those of ``seconds`` after ``warm_up``.
    """

    rate: float = 0.0
    connections: int = 0
    held: int = 0
    backlog: int = 0
    api: int = 2
    workers: int = 8
    relays: int = 2
    queues: int = 1
    postgres_cores: int = 8
    shared_cores: int = 0
    slots: int = field(default=WorkerSettings().slots)
    concurrency: int = field(default=WorkerSettings().concurrency)
    window: int = field(default=RelaySettings().window)
    message_max_runs: int = field(default=RelaySettings().message_max_runs)
    take_max: int = field(default=RelaySettings().take_max)
    flush_max_rows: int = field(default=ApiSettings().flush_max_rows)
    flush_queue_max: int = field(default=ApiSettings().flush_queue_max)
    wait: float = 0.0
    flush_ms: float | None = None
    wal_mb: float = 200.0
    seconds: float = 8.0
    warm_up: float = 2.0
    seed: int = 1
