import gzip

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.sink import Spans


def _request(trace: bytes, *names: str) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for name in names:
        scope.spans.add(trace_id=trace, name=name)
    return request.SerializeToString()


def test_spans_are_counted_by_name_and_traces_by_size() -> None:
    spans = Spans()
    spans.take(b"", _request(b"a" * 16, "POST /events", "accept"))
    spans.take(b"gzip", gzip.compress(_request(b"a" * 16, "process")))
    spans.take(b"", _request(b"b" * 16, "POST /events"))
    counts = spans.counts()
    assert counts["names"] == {"POST /events": 2, "accept": 1, "process": 1}
    assert (counts["spans"], counts["traces"], counts["sizes"]) == (4, 2, {3: 1, 1: 1})


def test_what_was_forgotten_is_not_counted() -> None:
    spans = Spans()
    spans.take(b"", _request(b"a" * 16, "accept"))
    spans.reset()
    assert spans.counts() == {"spans": 0, "names": {}, "traces": 0, "sizes": {}, "bytes": 0}
