import time
from collections.abc import Callable

from worker.consumer import _INTERVAL, GatheringConsumer


class Hub:
    def __init__(self) -> None:
        self._ready: set[Callable[[], None]] = set()
        self.later: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.later.append((delay, callback))

    def turn(self) -> None:
        ready, self._ready = self._ready, set()
        for callback in ready:
            callback()


class Counting(GatheringConsumer):
    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.flushed = 0
        self._next_flush = self._armed_until = 0.0

    def _flush_events(self) -> None:
        self.flushed += 1


def test_the_first_event_goes_at_once_and_those_that_follow_go_together() -> None:
    hub = Hub()
    consumer = Counting(hub)
    for _ in range(50):
        consumer.on_send_event_buffered()
        hub.turn()
    assert consumer.flushed == 1
    ((delay, flush),) = hub.later
    assert 0 < delay <= _INTERVAL
    consumer._next_flush -= delay
    flush()
    assert consumer.flushed == 2


def test_an_event_soon_after_the_timers_turn_has_a_timer_of_its_own() -> None:
    hub = Hub()
    consumer = Counting(hub)
    for count in range(1, 4):
        for _ in range(2):
            consumer.on_send_event_buffered()
            hub.turn()
        assert len(hub.later) == count
        consumer._next_flush = time.monotonic()
        hub.later[-1][1]()
    assert consumer.flushed == 4


def test_a_timer_that_got_lost_is_made_again() -> None:
    hub = Hub()
    consumer = Counting(hub)
    for _ in range(2):
        consumer.on_send_event_buffered()
        hub.turn()
    hub.later.clear()
    consumer._next_flush += 10
    consumer._armed_until = time.monotonic() - 0.001
    consumer.on_send_event_buffered()
    hub.turn()
    assert len(hub.later) == 1
