from tests.support.otlp import SpanRecord


def tree_of(spans: tuple[SpanRecord, ...], trace_id: str) -> dict[str, SpanRecord]:
    """Check that the spans of a trace form one tree, and return them by id."""
    by_id = {span.span_id: span for span in spans if span.trace_id == trace_id}
    roots = [span for span in by_id.values() if span.parent_span_id is None]
    assert len(roots) == 1, [span.name for span in roots]
    orphans = [span.name for span in by_id.values() if span.parent_span_id and span.parent_span_id not in by_id]
    assert orphans == []
    assert len(by_id) == sum(span.trace_id == trace_id for span in spans), "a span arrived twice"
    return by_id


def path_to(span: SpanRecord, by_id: dict[str, SpanRecord]) -> list[str]:
    """Return the names from the root to a span."""
    names = [span.name]
    while span.parent_span_id is not None:
        span = by_id[span.parent_span_id]
        names.append(span.name)
    return names[::-1]
