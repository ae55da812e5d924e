"""The supervisor over services that are objects only: order, policies, haste."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from throughline.errors import ServiceFailed
from throughline.supervision import OnExit, Progress, Step, StopRequested, Supervisor
from throughline.supervision import watched as watched_module


@dataclass
class FakeService:
    name: str
    story: list[str]
    never_ready: bool = False
    ignores: frozenset[signal.Signals] = frozenset()
    stop_steps: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 60.0),)
    ready_timeout: float = 0.05
    code: int | None = 0
    asked: int = field(default=0)

    def launch(self) -> None:
        self.code = None
        self.asked = 0
        self.story.append(f"launch {self.name}")

    def ready(self) -> bool:
        self.asked += 1
        return self.asked > 1 and not self.never_ready

    def exit_code(self) -> int | None:
        return self.code

    def send(self, number: signal.Signals, /) -> None:
        if number is not signal.SIGCONT:
            self.story.append(f"{number.name} {self.name}")
            if number not in self.ignores:
                self.code = -number

    def kill(self) -> None:
        self.story.append(f"kill {self.name}")
        self.code = -signal.SIGKILL

    def release(self) -> None:
        self.story.append(f"release {self.name}")

    def failure(self, *, said: str | None = None) -> ServiceFailed:
        return ServiceFailed(f"{self.name} {said or self.code}")

    def tidy(self) -> None:
        self.story.append(f"tidy {self.name}")


@pytest.fixture
def story() -> list[str]:
    return []


def test_services_stop_in_the_reverse_order_of_their_start(story: list[str]) -> None:
    with Supervisor() as supervisor:
        supervisor.start(FakeService("postgres", story))
        supervisor.start(FakeService("api", story), FakeService("worker", story))
    assert story == [
        "launch postgres",
        "launch api",
        "launch worker",
        "SIGTERM worker",
        "SIGTERM api",
        "release worker",
        "release api",
        "SIGTERM postgres",
        "release postgres",
    ]


def test_a_service_that_is_not_ready_in_time_fails_the_start_and_all_are_stopped(story: list[str]) -> None:
    def up() -> None:
        with Supervisor() as supervisor:
            supervisor.start(FakeService("postgres", story))
            supervisor.start(FakeService("api", story, never_ready=True))

    with pytest.raises(ServiceFailed, match="api was not ready"):
        up()
    assert story[-4:] == ["SIGTERM api", "release api", "SIGTERM postgres", "release postgres"]


def test_an_unexpected_end_is_a_failure_where_the_policy_says_so(story: list[str]) -> None:
    def up(worker: FakeService) -> None:
        with Supervisor(on_exit=OnExit.FAIL) as supervisor:
            supervisor.start(worker)
            worker.code = 7
            supervisor.watch(timeout=5)

    with pytest.raises(ServiceFailed, match="worker 7"):
        up(FakeService("worker", story))


def test_an_unexpected_end_is_reported_and_mended_where_the_policy_says_so(
    story: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_module, "FIRST_PAUSE", 0.01)
    worker, told = FakeService("worker", story), list[Progress]()
    with Supervisor(on_exit=OnExit.RESTART, report=told.append) as supervisor:
        supervisor.start(worker)
        worker.code = -9
        assert supervisor.watch(until=lambda: [p.step for p in told].count(Step.READY) == 2, timeout=5)
    assert [progress.step for progress in told] == [
        Step.STARTING,
        Step.READY,
        Step.ENDED,
        Step.RESTARTING,
        Step.STARTING,
        Step.READY,
        Step.STOPPING,
        Step.STOPPED,
    ]


def test_restarts_pause_longer_each_time_up_to_a_limit(story: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(watched_module, "LONGEST_PAUSE", 0.03)
    worker, told = FakeService("worker", story), list[Progress]()
    with Supervisor(on_exit=OnExit.RESTART, report=told.append) as supervisor:
        supervisor.start(worker)
        worker.never_ready = True
        worker.code = 1
        pauses = lambda: [p.seconds for p in told if p.step is Step.RESTARTING]  # noqa: E731 - asked twice
        assert supervisor.watch(until=lambda: len(pauses()) >= 4, timeout=5)
    assert pauses()[:4] == [0.01, 0.02, 0.03, 0.03]
    assert [p.tries for p in told if p.step is Step.RESTARTING][:4] == [1, 2, 3, 4]


@pytest.fixture
def default_hangup() -> Iterator[None]:
    """As without nohup, whatever this test run was started with."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("default_hangup")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_stop_signal_stops_everything_once(story: list[str], number: signal.Signals) -> None:
    def up() -> None:
        with Supervisor() as supervisor:
            supervisor.start(FakeService("api", story))
            os.kill(os.getpid(), number)
            supervisor.watch(timeout=5)

    before = signal.getsignal(number)
    with pytest.raises(StopRequested) as caught:
        up()
    assert caught.value.exit_code == 128 + number
    assert story == ["launch api", "SIGTERM api", "release api"]
    assert signal.getsignal(number) is before


@pytest.mark.usefixtures("default_hangup")
def test_a_hangup_that_is_ignored_stays_ignored(story: list[str]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Supervisor() as supervisor:
        supervisor.start(FakeService("api", story))
        os.kill(os.getpid(), signal.SIGHUP)
        assert not supervisor.watch(timeout=0.05)


def test_a_second_signal_on_the_way_down_makes_haste(story: list[str]) -> None:
    stubborn = FakeService("worker", story, ignores=frozenset({signal.SIGTERM}))

    def impatient(progress: Progress) -> None:
        if progress.step is Step.STOPPING:
            signal.setitimer(signal.ITIMER_REAL, 0.1)

    def up() -> None:
        with Supervisor(report=impatient) as supervisor:
            supervisor.start(stubborn)
            os.kill(os.getpid(), signal.SIGINT)
            supervisor.watch(timeout=5)

    before = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        with pytest.raises(StopRequested):
            up()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert story == ["launch worker", "SIGTERM worker", "kill worker", "release worker"]


def test_a_signal_during_a_launch_is_heard_when_the_launch_is_done(story: list[str]) -> None:
    class Slow(FakeService):
        def launch(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            super().launch()

    with pytest.raises(StopRequested), Supervisor() as supervisor:
        supervisor.start(Slow("api", story))
    assert story == ["launch api", "SIGTERM api", "release api"]


def test_a_restart_stops_a_service_as_it_wants_and_starts_it_anew_while_the_others_go_on(story: list[str]) -> None:
    api, told = FakeService("api", story), list[Progress]()
    worker = FakeService("worker", story, stop_steps=((signal.SIGINT, 60.0),))
    with Supervisor(on_exit=OnExit.FAIL, report=told.append) as supervisor:
        supervisor.start(api, worker)
        supervisor.restart("worker", "nobody")
        supervisor.restart("worker")
        assert supervisor.watch(until=lambda: [p.step for p in told].count(Step.READY) == 3, timeout=5)
        assert story == ["launch api", "launch worker", "SIGINT worker", "release worker", "launch worker"]


def test_a_service_that_is_being_restarted_is_stopped_with_the_others(story: list[str]) -> None:
    worker = FakeService("worker", story, ignores=frozenset({signal.SIGTERM}), stop_steps=((signal.SIGTERM, 0.0),))
    with Supervisor() as supervisor:
        supervisor.start(worker)
        supervisor.restart("worker")
    assert story[-2:] == ["kill worker", "release worker"]
