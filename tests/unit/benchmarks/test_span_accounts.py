import pytest
from prometheus_client import CollectorRegistry

from benchmarks.span_accounts import account_of, plausible_traces
from observability.metrics import DropReason, Metrics
from observability.metrics.exposition import render


def _page(exported: int, **dropped: int) -> str:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.spans_exported.labels().inc(exported)
    for reason, count in dropped.items():
        metrics.spans_dropped.labels(reason=DropReason(reason)).inc(count)
    return render(registry, None)[0].decode()


def test_the_accounts_of_all_processes_are_one() -> None:
    account = account_of([_page(70, queue_full=20), _page(5, queue_full=1, export_failed=4)], expected=100)
    assert (account.exported, account.dropped) == (75, {"queue_full": 21, "export_failed": 4})
    assert (account.told, account.untold) == (100, 0)


def test_what_nobody_tells_of_is_untold() -> None:
    assert account_of([_page(70), _page(0, shutdown=20)], expected=100).untold == 10


def test_spans_beyond_those_expected_hide_nothing_below_zero() -> None:
    assert account_of([_page(101)], expected=100).untold == 0


@pytest.mark.parametrize(("events", "share", "low", "high"), [(10_000, 0.1, 850, 1_150), (100, 0.5, 25, 75)])
def test_as_many_traces_are_plausible_as_chance_allows(events: int, share: float, low: float, high: float) -> None:
    assert plausible_traces(events, share) == pytest.approx((low, high))
