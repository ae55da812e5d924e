import os
import signal
from typing import Any, Final

from billiard.process import current_process
from celery import Celery, signals
from celery.bootsteps import StartStopStep
from celery.platforms import EX_FAILURE, EX_OK
from celery.worker import state

from observability.level_watch import LevelInForce
from observability.levels import set_level
from observability.logs import configure_logging, get_logger
from pipelines import PipelineRegistry
from settings import Settings
from worker.backstop import Backstop
from worker.children import LOOK_SECONDS, STOP_CHILD, Children
from worker.identity import Boot
from worker.process import RunsProcess, child_metrics_port, start_child
from worker.shared_level import SharedLevel

_STOP_SIGNALS: Final = ("SIGTERM", "SIGINT", "SIGQUIT")
_PATIENCE: Final = 2
_LIMIT: Final = 1.5
_PREFORK_LIMIT: Final = 3.0
_LEVEL_SECONDS: Final = 1.0

_log = get_logger(__name__)


class Lifecycle:
    """Ties a worker's processes to the life of Celery's: what starts when, and how everything ends in time.

    Both pools stop alike: the first signal stops consuming and gives runs their grace, a second one gives them none,
    a third one ends the process on the spot.
    """

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._prefork = settings.worker.pool == "prefork"
        self._process: RunsProcess | None = None
        self._children: Children | None = None
        self._backstop: Backstop | None = None
        self._registry: PipelineRegistry | None = None
        self._boot = Boot("")
        self._level = SharedLevel()
        self._in_force = LevelInForce(settings.log.level)
        self._looks: list[Any] = []
        self._signals = 0
        self._ended = False

    def install(self) -> None:
        """Connect to Celery's signals and steps."""
        signals.setup_logging.connect(self._on_setup_logging, weak=False)
        signals.worker_process_init.connect(self._on_child_start, weak=False)
        signals.worker_process_shutdown.connect(self._on_child_end, weak=False)
        signals.worker_shutdown.connect(self._on_end, weak=False)
        self._app.steps["worker"].add(_step_of(self))

    def load(self, hostname: str) -> None:
        """Load the pipelines, in the parent, so that a mistake in one ends the start.

        Raises:
            PipelineError: see ``PipelineRegistry.load``.

        """
        pipelines = self._settings.pipelines
        self._registry = PipelineRegistry.load(pipelines.modules, builtin=pipelines.builtin)
        self._boot = Boot(hostname)

    def start(self, worker: Any) -> None:
        """Start what the main process has to run, once Celery's pool is there."""
        if self._prefork:
            self._children = Children(worker)
        else:
            self._process = self._new_process()
            self._process.start(seat=self._boot.seat, metrics_port=self._settings.worker.metrics_port)
        self._backstop = Backstop(
            self._settings,
            prefix=self._boot.name,
            limit=_PREFORK_LIMIT if self._prefork else _LIMIT,
            kill=self._children.kill if self._children else _nothing,
        )
        self._backstop.start()
        for name in _STOP_SIGNALS:
            signal.signal(getattr(signal, name), self._on_signal)
        _log.info("worker started", worker=self._boot.name, pool=self._settings.worker.pool)

    def follow_children(self, timer: Any) -> None:
        """Look every few seconds at what they found and how they died; they ask for the log level, each for itself.

        Called each time that Celery begins to consume: it clears all timers when Redis is lost.
        """
        if self._children is None:
            return
        for look in self._looks:
            look.cancel()
        self._looks = [
            timer.call_repeatedly(LOOK_SECONDS, self._children.look),
            timer.call_repeatedly(_LEVEL_SECONDS, self._follow_level),
        ]

    def _follow_level(self) -> None:
        self._in_force.apply(self._level.found())

    def stop(self) -> None:
        """Stop also where no signal asked for it, as with a remote shutdown."""
        self._begin_stop(hurry=False)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signals += 1
        if self._signals > _PATIENCE:
            os._exit(EX_FAILURE)
        if self._signals == 1:
            signals.worker_shutting_down.send(sender=self._boot.hostname, sig=number, how="Warm", exitcode=EX_OK)
        state.should_stop = EX_OK
        self._begin_stop(hurry=self._signals > 1 or number == signal.SIGQUIT)

    def _begin_stop(self, *, hurry: bool) -> None:
        if self._process:
            self._process.begin_stop(hurry=hurry)
        if self._children:
            self._children.tell_to_stop()
        if self._backstop:
            self._backstop.begin(hurry=hurry)

    def _on_setup_logging(self, **_: Any) -> None:
        configure_logging(self._settings.log, service="worker")

    def _on_child_start(self, **_: Any) -> None:
        if self._registry is None:
            return
        set_level(self._settings.log.level)  # until its own first look: it was forked with its parent's
        index = int(getattr(current_process(), "index", 0))
        deaths = self._children.deaths if self._children else {}
        self._children = self._backstop = None
        self._process = self._new_process()
        port = child_metrics_port(self._settings, index)
        start_child(self._process, seat=self._boot.child(index, deaths), metrics_port=port)
        signal.signal(STOP_CHILD, self._on_child_signal)

    def _on_child_signal(self, _number: int, _frame: object) -> None:
        self._signals += 1
        if self._process:
            self._process.begin_stop(hurry=self._signals > 1)

    def _on_child_end(self, **_: Any) -> None:
        if self._process:
            self._process.close()

    def _on_end(self, **_: Any) -> None:
        if self._ended:
            return
        self._ended = True
        if self._process:
            self._process.wait_stopped()
        if self._backstop:
            self._backstop.finish(give_back=self._prefork)
        if self._process and not self._process.close():
            _log.warning("a node is deaf to its cancel: the process ends without it")
            os._exit(EX_OK)

    def _new_process(self) -> RunsProcess:
        if self._registry is None:
            raise RuntimeError("load() comes first")
        return RunsProcess(self._app, self._settings, self._registry, level_heard=self._level.tell)


def _nothing() -> None:
    """Kill nothing."""


def _step_of(lifecycle: Lifecycle) -> type:
    class RuntimeStep(StartStopStep):  # type: ignore[misc]  # Celery has no types
        """Starts after the pool and stops before it, so that the pool's threads don't wait for runs."""

        requires = ("celery.worker.components:Pool",)

        def create(self, parent: Any) -> None:
            lifecycle.load(parent.hostname)

        def start(self, parent: Any) -> None:
            lifecycle.start(parent)

        def register_with_event_loop(self, _parent: Any, hub: Any) -> None:
            lifecycle.follow_children(hub.timer)

        def stop(self, _parent: Any) -> None:
            lifecycle.stop()

        terminate = stop

    return RuntimeStep
