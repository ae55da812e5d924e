"""Whether the spans that a collector got are whole: against one another, and against the tables."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from tests.support.otlp import SpanRecord

Key = tuple[str, str]
"""Trace id and span id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An attempt or a node result in the tables, and the span that it must have.

    ``previous`` is that of the attempt before; ``shared``: it came in a message with others.
    """

    what: str
    key: Key
    previous: Key | None = None
    shared: bool = False


class Spans:
    """All spans that came, by their ids; one that came twice is there once, as its own process made it."""

    def __init__(self, spans: Iterable[SpanRecord]) -> None:
        self.by_key: dict[Key, SpanRecord] = {}
        self.twice: list[SpanRecord] = []
        for span in sorted(spans, key=lambda span: "throughline.recovered" in span.attributes):
            key = (span.trace_id, span.span_id)
            if key in self.by_key:
                self.twice.append(span)
            else:
                self.by_key[key] = span

    def orphans(self, *, but: frozenset[str] = frozenset()) -> list[str]:
        """Name the spans whose parent never came; ``but`` are the callers' own."""
        return [
            _told(span)
            for span in self.by_key.values()
            if span.parent_span_id and span.parent_span_id not in but
            if (span.trace_id, span.parent_span_id) not in self.by_key
        ]

    def loose_links(self) -> list[str]:
        """Name the links to spans that never came."""
        return [
            f"{_told(span)} {link.attributes.get('throughline.link')} -> {link.trace_id}:{link.span_id}"
            for span in self.by_key.values()
            for link in span.links
            if (link.trace_id, link.span_id) not in self.by_key
        ]

    def roots(self, trace_id: str) -> list[str]:
        """Name the spans of a trace that have no parent among what came."""
        return [
            span.name
            for span in self.by_key.values()
            if span.trace_id == trace_id and (trace_id, span.parent_span_id) not in self.by_key
        ]

    def pieces(self) -> dict[Key, Key]:
        """Say for each span which piece it is in: spans are in one piece that parents and links connect."""
        head = {key: key for key in self.by_key}

        def find(key: Key) -> Key:
            while head[key] != key:
                head[key] = head[head[key]]
                key = head[key]
            return key

        for key, span in self.by_key.items():
            others = [(link.trace_id, link.span_id) for link in span.links]
            if span.parent_span_id:
                others.append((span.trace_id, span.parent_span_id))
            for other in others:
                if other in head:
                    head[find(key)] = find(other)
        return {key: find(key) for key in head}

    def in_pieces(self, traces_of: dict[str, set[str]]) -> list[str]:
        """Name the events whose traces' spans are in more than one piece, or have none."""
        pieces, by_trace = self.pieces(), defaultdict[str, set[Key]](set)
        for key, piece in pieces.items():
            by_trace[key[0]].add(piece)
        counts = {
            event: len(set().union(*(by_trace[trace_id] for trace_id in traces))) for event, traces in traces_of.items()
        }
        return [f"{event}: {count} pieces" for event, count in counts.items() if count != 1]

    def missing(self, ended: Sequence[Ended]) -> list[str]:
        """Name what has ended and has no span."""
        return [item.what for item in ended if item.key not in self.by_key]

    def unlinked_retries(self, ended: Sequence[Ended]) -> list[str]:
        """Name the attempts whose span isn't linked to the span of the one before."""
        return [
            item.what
            for item in ended
            if item.previous is not None and item.key in self.by_key
            if item.previous not in _links(self.by_key[item.key], "retry_of")
        ]

    def not_with_their_message(self, ended: Sequence[Ended]) -> list[str]:
        """Name the attempts that shared a message and aren't linked with its span both ways."""
        return [item.what for item in ended if item.shared and not self._with_message(item)]

    def _with_message(self, item: Ended) -> bool:
        span = self.by_key.get(item.key)
        messages = [self.by_key.get(key) for key in _links(span, "message")] if span else []
        return any(item.key in _links(message, "run") for message in messages if message)


def _links(span: SpanRecord, reason: str) -> set[Key]:
    return {(link.trace_id, link.span_id) for link in span.links if link.attributes.get("throughline.link") == reason}


def _told(span: SpanRecord) -> str:
    return f"{span.service}:{span.name} {span.trace_id}:{span.span_id} under {span.parent_span_id}"


async def read(url: str, statement: str) -> list[asyncpg.Record]:
    """Ask the database."""
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


async def ended_attempts(url: str) -> list[Ended]:
    """Every attempt that has ended."""
    rows = await read(
        url,
        """
        SELECT a.run_id, a.attempt, a.outcome, a.task_id, a.span_id, p.span_id AS previous, r.traceparent
        FROM attempts a JOIN runs r USING (tenant, run_id)
        LEFT JOIN attempts p ON p.run_id = a.run_id AND p.attempt = a.attempt - 1
        WHERE a.finished_at IS NOT NULL
        """,
    )
    return [
        Ended(
            what=f"attempt {row['attempt']} of {row['run_id']}, {row['outcome']}",
            key=(_trace(row), row["span_id"]),
            previous=(_trace(row), row["previous"]) if row["previous"] else None,
            shared=row["task_id"].startswith("batch-"),
        )
        for row in rows
    ]


async def committed_nodes(url: str) -> list[Ended]:
    """Every committed result of a node that was called; one that a replay took over is in its origin's trace."""
    rows = await read(
        url,
        """
        SELECT n.run_id, n.node, n.attempt, n.status, n.span_id,
               CASE WHEN n.attempt > 0 THEN r.traceparent ELSE o.traceparent END AS traceparent
        FROM node_results n JOIN runs r USING (tenant, run_id) LEFT JOIN runs o ON o.run_id = r.replay_of
        WHERE n.status <> 'skipped'
        """,
    )
    return [
        Ended(
            what=f"node {row['node']} of {row['run_id']}, attempt {row['attempt']}, {row['status']}",
            key=(_trace(row), row["span_id"]),
        )
        for row in rows
    ]


async def traces_of_events(url: str) -> dict[str, set[str]]:
    """The ids of each event's traces: its own and its replays'."""
    found = defaultdict[str, set[str]](set)
    rows = await read(url, "SELECT event_id, traceparent FROM events UNION ALL SELECT event_id, traceparent FROM runs")
    for row in rows:
        found[str(row["event_id"])].add(_trace(row))
    return dict(found)


def _trace(row: Any) -> str:
    return str(row["traceparent"]).split("-")[1]
