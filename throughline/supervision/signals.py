import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(KeyboardInterrupt):
    """Somebody asked to stop, by Ctrl-C, SIGTERM or SIGHUP; ``signal`` says by which."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.signal = number

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that was stopped by this signal."""
        return 128 + self.signal


class StopSignals:
    """Turns stop signals into one ``StopRequested`` in the main thread, and counts those that follow.

    Inside ``held()`` nothing is raised until its end: a process must not be started and then lost by an exception
    between fork and bookkeeping. Outside the main thread, where Python has no signal handlers, it does nothing. A
    SIGHUP that is ignored stays ignored, as nohup wants it.
    """

    def __init__(self) -> None:
        self.count = 0
        self._first: signal.Signals | None = None
        self._holds = 0
        self._raised = False
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            minded = [number for number in STOP_SIGNALS if not _hangup_ignored(number)]
            self._before = {number: signal.signal(number, self._on_signal) for number in minded}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the exception back until the block is done."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
        self._raise_if_due()

    def hold_for_good(self) -> None:
        """From here on signals are counted, never raised: the way down has begun."""
        self._holds += 1

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self._first = self._first or signal.Signals(number)
        self._raise_if_due()

    def _raise_if_due(self) -> None:
        if self._first is not None and not self._holds and not self._raised:
            self._raised = True
            raise StopRequested(self._first)


def _hangup_ignored(number: signal.Signals) -> bool:
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
