from typing import Final

from observability.metrics import Metrics, Sli, method_label
from settings import SloSettings

EVENTS_PATH: Final = "/events"
_FAULT: Final = 500
_MISTAKE: Final = 400


class Requests:
    """Measures requests, and holds those that send events against the target for them.

    What is answered 5xx, or too late, is bad. A client's mistake (4xx) tells nothing of us and is not counted.
    """

    def __init__(self, metrics: Metrics, slo: SloSettings) -> None:
        self._duration = metrics.http_request_duration
        self._good = metrics.slo_events.labels(sli=Sli.INGEST, pipeline="", good=True)
        self._bad = metrics.slo_events.labels(sli=Sli.INGEST, pipeline="", good=False)
        self._within = slo.ingest_within

    def measured(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Take an answer of ``status``, ``seconds`` after its request came; in the request's span, for the exemplar."""
        self._duration.labels(
            http_request_method=method_label(method), http_route=route, http_response_status_code=str(status)
        ).observe(seconds)
        if route == EVENTS_PATH and method == "POST" and not _MISTAKE <= status < _FAULT:
            (self._good if status < _FAULT and seconds <= self._within else self._bad).inc()
