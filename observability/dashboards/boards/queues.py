from typing import Final

from observability.dashboards.board import Board, Row
from observability.dashboards.boards.processes import process_row
from observability.dashboards.links import DEAD_RUNS, OF_A_NODE, OF_A_PIPELINE, logs, runs
from observability.dashboards.panels import Heatmap, Query, Series, Stat
from observability.dashboards.promql import buckets, highest, mean, or_zero, quantile, rate, total
from observability.metrics import Metrics

_FINAL: Final = "=~succeeded|failed|cancelled"
_USED: Final = total(Metrics.worker_slots, by=("queue",), state="used")
_SLOTS: Final = total(Metrics.worker_slots, by=("queue",), state="total")
_RELAY_LOGS: Final = logs("The relay's log lines", '{service_name=~".*relay"} | json')
_WORKER_LOGS: Final = logs("The workers' log lines", '{service_name=~".*worker"} | json')

_NOW: Final = Row(
    "Now",
    (
        Stat(
            title="Due",
            description="Runs that could be at work and are not.",
            unit="short",
            queries=(Query(expr=f"sum({highest(Metrics.queue_depth, by=('queue',), state='due')}) or vector(0)"),),
        ),
        Stat(
            title="Oldest due run",
            description="For how long the oldest run that is due has waited.",
            unit="s",
            queries=(Query(expr=or_zero(highest(Metrics.queue_oldest_age, state="due"))),),
            steps=((10.0, "orange"), (60.0, "red")),
        ),
        Stat(
            title="Slots in use",
            description="Share of all workers' slots that runs are in.",
            unit="percentunit",
            queries=(
                Query(
                    expr=f"{total(Metrics.worker_slots, state='used')} / {total(Metrics.worker_slots, state='total')}"
                ),
            ),
            steps=((0.8, "orange"), (0.95, "red")),
        ),
        Stat(
            title="Dead runs",
            description="Failed runs that nobody has replayed.",
            unit="short",
            queries=(Query(expr=highest(Metrics.dead_runs)),),
            links=DEAD_RUNS,
            steps=((1.0, "orange"),),
        ),
        Stat(
            title="Unrouted events",
            description="Events that no pipeline takes, waiting for one.",
            unit="short",
            queries=(Query(expr=highest(Metrics.unrouted_events)),),
            steps=((1.0, "orange"),),
        ),
        Stat(
            title="Account's difference",
            description="Runs accepted - final - open. Anything but 0 is a fault; throughline audit tells more.",
            unit="short",
            queries=(
                Query(
                    expr=f"max(abs({highest(Metrics.accounting_runs, by=('instance',), state='difference')}))",
                ),
            ),
            steps=((1.0, "red"),),
        ),
    ),
)

_QUEUES: Final = Row(
    "Queues, as PostgreSQL tells",
    (
        Series(
            title="Open runs by state",
            description="Due, waiting for a limit, due later (retries and delays), sent to Redis and not claimed (part "
            "of due), and running.",
            unit="short",
            queries=(Query(expr=highest(Metrics.queue_depth, by=("queue", "state")), legend="{{queue}} {{state}}"),),
            links=(runs("Queued runs", status="queued"), runs("Running runs", status="running")),
        ),
        Series(
            title="Age of the oldest due run",
            description="How long the oldest run has been due, by queue: the first sign that workers don't keep up.",
            unit="s",
            queries=(
                Query(
                    expr=highest(Metrics.queue_oldest_age, by=("queue",), state="due"),
                    legend="{{queue}}",
                ),
            ),
            links=(runs("Queued runs", status="queued"), _WORKER_LOGS),
        ),
        Series(
            title="Arriving and ending",
            description="Runs sent to workers a second, and runs that reached their end. Where the first stays above "
            "the "
            "second, a backlog grows.",
            unit="ops",
            queries=(
                Query(expr=rate(Metrics.published), legend="sent"),
                Query(expr=rate(Metrics.runs, outcome=_FINAL), legend="ended"),
            ),
        ),
        Heatmap(
            title="Wait in the queue",
            description="From due to claimed, without backoff. A point is one run: it opens its trace.",
            unit="s",
            queries=(Query(expr=buckets(Metrics.run_queue_wait), exemplar=True),),
        ),
        Series(
            title="Wait in the queue, p95 by pipeline",
            description="95 of 100 runs were claimed within this time after they were due.",
            unit="s",
            queries=(Query(expr=quantile(0.95, Metrics.run_queue_wait, by=("pipeline",)), legend="{{pipeline}}"),),
            links=OF_A_PIPELINE,
            width=12,
        ),
    ),
)

_WAITS: Final = Row(
    "Waits",
    (
        Series(
            title="Waiting and sleeping",
            description="Runs that wait for an event, and runs that sleep. They hold no slot and are no backlog.",
            unit="short",
            queries=(
                Query(expr=highest(Metrics.suspended_runs, by=("queue", "reason")), legend="{{queue}} {{reason}}"),
            ),
            links=(runs("Queued runs", status="queued"),),
        ),
        Series(
            title="Waits that ended",
            description="Waits for an event that ended a second, by what ended them: the event, or the time.",
            unit="ops",
            queries=(Query(expr=rate(Metrics.waits_ended, by=("by",)), legend="{{by}}"),),
        ),
        Heatmap(
            title="From event to run",
            description="From when a wait and its event were both there to when they were brought together.",
            unit="s",
            queries=(Query(expr=buckets(Metrics.wait_match)),),
        ),
        Series(
            title="Oldest that was not looked at",
            description="Age of the oldest wait or awaited event that no relay has looked at. It grows while none gets "
            "to it.",
            unit="s",
            queries=(Query(expr=highest(Metrics.match_oldest_age), legend="age"),),
            links=(_RELAY_LOGS,),
            steps=((30.0, "red"),),
        ),
    ),
)

_LIMITS: Final = Row(
    "Limits",
    (
        Series(
            title="Waiting for limits",
            description="Due runs that wait for permits, by limit. They are no backlog of their queue.",
            unit="short",
            queries=(Query(expr=highest(Metrics.limit_waiting_runs, by=("limit",)), legend="{{limit}}"),),
            links=(runs("Queued runs", status="queued"),),
        ),
        Series(
            title="Permits held",
            description="Permits that runs hold, of a limit over all its keys.",
            unit="short",
            queries=(Query(expr=highest(Metrics.limit_permits_held, by=("limit",)), legend="{{limit}}"),),
            links=(runs("Running runs", status="running"),),
        ),
        Series(
            title="Let go by limits",
            description="Runs that each limit let go a second. None, while runs wait and permits are held: a run that "
            "holds one doesn't end.",
            unit="ops",
            queries=(Query(expr=rate(Metrics.limit_admissions, by=("limit",)), legend="{{limit}}"),),
            links=(_RELAY_LOGS,),
        ),
        Series(
            title="Expired and superseded",
            description="Runs that had not begun in time, and runs cancelled for another of the same key, a second.",
            unit="ops",
            queries=(
                Query(expr=rate(Metrics.expired_runs, by=("pipeline",)), legend="{{pipeline}} expired"),
                Query(expr=rate(Metrics.superseded_runs, by=("pipeline",)), legend="{{pipeline}} superseded"),
            ),
            links=(*OF_A_PIPELINE, _RELAY_LOGS),
        ),
    ),
)

_RELAY: Final = Row(
    "Relay",
    (
        Series(
            title="Runs sent",
            description="Runs sent to each queue a second; one that is sent again counts again.",
            unit="ops",
            queries=(Query(expr=rate(Metrics.published, by=("queue",)), legend="{{queue}}"),),
            links=(_RELAY_LOGS,),
        ),
        Series(
            title="Messages that could not be sent",
            description="Redis refused them or did not answer. Nothing is lost: what is due waits in PostgreSQL.",
            unit="ops",
            queries=(Query(expr=rate(Metrics.publish_errors, by=("queue",)), legend="{{queue}}"),),
            links=(_RELAY_LOGS,),
        ),
        Series(
            title="Runs in a message",
            description="One while workers keep up, more under a backlog.",
            unit="short",
            queries=(Query(expr=mean(Metrics.message_runs, by=("queue",)), legend="{{queue}}"),),
        ),
        Heatmap(
            title="Duration of a pass",
            description="How long the relay took to look for due runs and send them.",
            unit="s",
            queries=(Query(expr=buckets(Metrics.relay_pass_duration)),),
        ),
        Series(
            title="Since the last pass",
            description="Seconds since any relay last looked for due runs and got through. It stands still while "
            "Redis or "
            "PostgreSQL is away.",
            unit="s",
            queries=(Query(expr=f"time() - {highest(Metrics.relay_last_pass)}", legend="since the last pass"),),
            links=(_RELAY_LOGS,),
            steps=((10.0, "red"),),
            width=6,
        ),
        Series(
            title="Account of runs",
            description="Open runs and the account's difference, counted apart from the tables that they check.",
            unit="short",
            queries=(
                Query(
                    expr=highest(Metrics.accounting_runs, by=("state",), state="=~open|difference"), legend="{{state}}"
                ),
            ),
            lowest=None,
            width=6,
        ),
    ),
)

_WORKERS: Final = Row(
    "Workers",
    (
        Series(
            title="Slots",
            description="Slots of all worker processes, and those in use, by queue.",
            unit="short",
            queries=(
                Query(expr=_USED, legend="{{queue}} used"),
                Query(expr=_SLOTS, legend="{{queue}} total"),
            ),
            links=(_WORKER_LOGS,),
        ),
        Series(
            title="Slots in use by process",
            description="Share of each worker process's slots that runs are in. Near 1 everywhere: more workers are "
            "needed.",
            unit="percentunit",
            queries=(
                Query(
                    expr=f"{total(Metrics.worker_slots, by=('instance', 'queue'), state='used')} / "
                    f"{total(Metrics.worker_slots, by=('instance', 'queue'), state='total')}",
                    legend="{{instance}} {{queue}}",
                ),
            ),
            highest=1,
            links=(_WORKER_LOGS,),
        ),
        Series(
            title="Trouble",
            description="Leases of worker processes that ended without being given back, and writes refused because "
            "the run "
            "was no longer the worker's, a second.",
            unit="ops",
            queries=(
                Query(expr=rate(Metrics.leases_expired), legend="leases expired"),
                Query(expr=rate(Metrics.stale_writes), legend="stale writes"),
                Query(expr=or_zero(rate(Metrics.runs, outcome="rescued")), legend="runs rescued"),
            ),
            links=(_WORKER_LOGS, _RELAY_LOGS),
        ),
        Series(
            title="Blocked event loops",
            description="Times that a node kept a worker's event loop from its turn, a second. At the limit the "
            "process is "
            "ended.",
            unit="ops",
            queries=(Query(expr=rate(Metrics.loop_blocked, by=("pipeline", "node")), legend="{{pipeline}} {{node}}"),),
            links=(*OF_A_NODE, _WORKER_LOGS),
            width=24,
            height=6,
        ),
    ),
)

QUEUES: Final = Board(
    uid="throughline-queues",
    title="Throughline / Queues, relay and workers",
    description="What waits, for how long, what moves it, and who works on it.",
    rows=(_NOW, _QUEUES, _WAITS, _LIMITS, _RELAY, _WORKERS, process_row("Processes")),
)
