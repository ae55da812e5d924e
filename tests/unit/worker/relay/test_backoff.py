from hypothesis import given
from hypothesis import strategies as st

from worker.relay.backoff import Backoff


@given(failures=st.integers(1, 2000))
def test_the_wait_doubles_up_to_its_cap_and_is_never_less_than_half(failures: int) -> None:
    backoff = Backoff(first=0.1, longest=2.0)
    waits = [backoff.failed() for _ in range(failures)]
    for number, wait in enumerate(waits):
        whole = min(2.0, 0.1 * 2.0 ** min(number, 30))
        assert whole / 2 <= wait <= whole


def test_success_tells_how_long_it_failed_once() -> None:
    now = [100.0]
    backoff = Backoff(first=0.1, longest=2.0, clock=lambda: now[0])
    assert backoff.succeeded() == 0.0
    backoff.failed()
    now[0] = 130.0
    backoff.failed()
    assert backoff.failing
    assert backoff.succeeded() == 30.0
    assert not backoff.failing
    assert backoff.succeeded() == 0.0
