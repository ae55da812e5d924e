from pathlib import Path

from throughline.chaos.audit import Books
from throughline.chaos.effects import read_calls
from throughline.chaos.ledger import Ledger
from throughline.chaos.looks import rows
from throughline.embedded import EmbeddedPostgres

_RUNS = """
    SELECT e.ce_id, e.type, e.event_id, r.run_id, r.status, r.reason, r.failure_kind, r.attempt,
           extract(epoch FROM r.finished_at)::float8 AS ended
    FROM events e LEFT JOIN runs r USING (tenant, event_id) WHERE e.source = 'chaos'
"""
_ATTEMPTS = "SELECT run_id, attempt, outcome, extract(epoch FROM finished_at)::float8 AS ended FROM attempts"
_RESULTS = """
    SELECT run_id, CASE WHEN item > 0 THEN node || ':' || item ELSE node END AS node, attempt, status FROM node_results
"""


def read_books(ledger: Ledger, effects: Path, postgres: EmbeddedPostgres) -> Books:
    """Read both ledgers and the tables as they are now."""
    return Books(
        sent=ledger.sent,
        runs=rows(postgres, _RUNS),
        attempts=rows(postgres, _ATTEMPTS),
        results=rows(postgres, _RESULTS),
        calls=read_calls(effects),
    )
