"""Redis and PostgreSQL, as the relay sees them."""

from observability.alerts.plan import Plan
from observability.alerts.rule import Alert, Board, Rule, Severity


def alerts(plan: Plan) -> tuple[Rule, ...]:
    """Make the alerts on Redis and PostgreSQL."""
    return (*_redis(plan), *_postgres(plan))


def _redis(plan: Plan) -> tuple[Alert, ...]:
    return (
        Alert(
            name="ThroughlineRedisDown",
            expr="max(throughline_redis_up) == 0",
            lasted=plan.scale.span("1m"),
            severity=Severity.PAGE,
            board=Board.STORES,
            summary="Redis does not answer",
            description="No relay reaches Redis. Events are accepted and wait; no run gets to a worker.",
        ),
        Alert(
            name="ThroughlineRedisMemoryFull",
            expr="max(throughline_redis_memory_used_bytes) / (max(throughline_redis_memory_max_bytes) > 0) > 0.85",
            lasted=plan.scale.span("10m"),
            severity=Severity.TICKET,
            board=Board.STORES,
            summary="Redis is almost full",
            description="Redis uses {{ $value | humanizePercentage }} of maxmemory; when it is full, it takes nothing.",
        ),
        Alert(
            name="ThroughlineRedisEvicts",
            expr=f"max(increase(throughline_redis_evicted_keys_total[{plan.scale.span('15m')}])) > 0",
            lasted="0s",
            severity=Severity.TICKET,
            board=Board.STORES,
            summary="Redis throws keys away",
            description="Redis evicted {{ $value | humanize }} keys in 15m; messages may be among them.",
        ),
    )


def _postgres(plan: Plan) -> tuple[Alert, ...]:
    return (
        Alert(
            name="ThroughlinePostgresDown",
            expr="max(throughline_postgres_up) == 0",
            lasted=plan.scale.span("1m"),
            severity=Severity.PAGE,
            board=Board.STORES,
            summary="PostgreSQL does not answer",
            description="No relay reaches PostgreSQL. Events are refused with 503 and no run moves.",
        ),
        Alert(
            name="ThroughlinePostgresConnectionsFull",
            expr="max(throughline_postgres_connections) / (max(throughline_postgres_connections_max) > 0) > 0.85",
            lasted=plan.scale.span("10m"),
            severity=Severity.TICKET,
            board=Board.STORES,
            summary="PostgreSQL has few connections left",
            description="{{ $value | humanizePercentage }} of max_connections are in use; then processes are refused.",
        ),
        Alert(
            name="ThroughlinePostgresDeadlocks",
            expr=f"max(increase(throughline_postgres_deadlocks_total[{plan.scale.span('15m')}])) > 2",
            lasted="0s",
            severity=Severity.TICKET,
            board=Board.STORES,
            summary="Transactions deadlock",
            description="PostgreSQL ended {{ $value | humanize }} deadlocks in 15m; our own statements make none.",
        ),
        Alert(
            name="ThroughlinePostgresLongTransaction",
            expr=f"max(throughline_postgres_oldest_transaction_seconds) > {plan.scale.seconds('10m'):g}",
            lasted=plan.scale.span("5m"),
            severity=Severity.TICKET,
            board=Board.STORES,
            summary="A transaction has been open for long",
            description="The oldest transaction of our role is {{ $value | humanizeDuration }} old; until it ends, "
            "nothing is cleaned up, and the tables of the queue bloat.",
        ),
    )
