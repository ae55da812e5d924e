import pytest
from prometheus_client import CollectorRegistry

from api.measuring import Requests
from observability.metrics import Metrics
from settings import SloSettings


def good_and_bad(registry: CollectorRegistry) -> tuple[float | None, float | None]:
    good, bad = (
        registry.get_sample_value("throughline_slo_events_total", {"sli": "ingest", "pipeline": "", "good": good})
        for good in ("true", "false")
    )
    return good, bad


@pytest.mark.parametrize(
    ("status", "seconds", "counts"),
    [
        (202, 0.1, (1, 0)),
        (200, 0.25, (1, 0)),
        (202, 0.251, (0, 1)),
        (503, 0.001, (0, 1)),
        (500, 0.001, (0, 1)),
        (400, 9.0, (0, 0)),
        (499, 9.0, (0, 0)),
    ],
)
def test_a_request_with_events_is_good_if_it_was_answered_in_time(
    status: int, seconds: float, counts: tuple[int, int]
) -> None:
    registry = CollectorRegistry()
    requests = Requests(Metrics(registry), SloSettings(ingest_within=0.25))
    requests.measured(method="POST", route="/events", status=status, seconds=seconds)
    assert good_and_bad(registry) == counts


@pytest.mark.parametrize(("method", "route"), [("GET", "/events"), ("POST", "/runs/replay"), ("POST", "unmatched")])
def test_other_requests_are_measured_but_not_held_against_it(method: str, route: str) -> None:
    registry = CollectorRegistry()
    Requests(Metrics(registry), SloSettings()).measured(method=method, route=route, status=500, seconds=0.1)
    assert good_and_bad(registry) == (0, 0)
    labels = {"http_request_method": method, "http_route": route, "http_response_status_code": "500"}
    assert registry.get_sample_value("http_server_request_duration_seconds_count", labels) == 1
