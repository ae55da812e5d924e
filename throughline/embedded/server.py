import secrets
import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from throughline.embedded.folder import make_folder
from throughline.embedded.locks import FolderLock
from throughline.embedded.ports import free_port, port_is_free, port_taken
from throughline.embedded.processes import descendants, signal_all, wait_gone, working_in
from throughline.errors import FolderInUse, FolderUnusable, ServiceFailed, StackError
from throughline.supervision.guard import LastWish
from throughline.supervision.logfile import LogFile
from throughline.supervision.process import ManagedProcess
from throughline.supervision.service import StopSteps, stop, wait_ready

_LEFTOVER_WAIT = 10.0
_LISTEN_TIMEOUT = 10.0
_PORT_TRIES = 5


class EmbeddedServer(ABC):
    """A real server from an installed wheel, over a data folder that survives it; a ``Service``, and usable alone.

    It listens on loopback only and asks for a generated password, kept in a file that its owner alone can read. Port 0
    means any free one, chosen at the first launch and kept through restarts of this object.
    """

    name: ClassVar[str]
    program: ClassVar[str]
    stop_steps: ClassVar[StopSteps]
    last_wish: ClassVar[LastWish]
    ready_timeout: float = 60.0

    def __init__(
        self, data_dir: Path, *, port: int = 0, log_file: Path | None = None, port_setting: str | None = None
    ) -> None:
        """Describe the server; nothing is started or written.

        Args:
            data_dir: the folder it owns; made when it isn't there.
            port: the port to listen on; 0 for any free one.
            log_file: where its output goes; ``<data_dir>/<name>.log`` when left out.
            port_setting: the variable or option that chose the port, for the message when it is taken.

        """
        self.data_dir = data_dir.absolute()
        self.log = LogFile(log_file or self.data_dir / f"{self.name}.log")
        self._process = ManagedProcess(self.name, log=self.log, last_wish=self.last_wish)
        self._lock = FolderLock(self.data_dir)
        self._wanted_port = port
        self._port = port
        self._port_setting = port_setting

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, password included."""

    @property
    @abstractmethod
    def working_folder(self) -> Path:
        """The folder that the server itself works in."""

    @abstractmethod
    def ready(self) -> bool:
        """Say whether it serves clients that know the password."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the server needs before it is started; under the lock, no server running."""

    @abstractmethod
    def _spawn(self, port: int) -> None:
        """Start the process."""

    @abstractmethod
    def _listening(self) -> bool:
        """Say whether our process, not somebody else's, has the port."""

    @property
    def port(self) -> int:
        """The port it listens on; a ``StackError`` before the first launch if any free one was asked for."""
        if not self._port:
            raise StackError(f"{self.name} was not started: it has no port yet")
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the latest launch."""
        return self._process.pid

    @property
    def password(self) -> str:
        """The generated password; a ``FolderUnusable`` when it isn't there."""
        try:
            return (self.data_dir / "password").read_text().strip()
        except OSError as error:
            raise FolderUnusable(
                f"{self.data_dir / 'password'} can't be read ({error.strerror}): put it back, or move {self.data_dir} "
                "away to start with empty data"
            ) from error

    def launch(self) -> None:
        """Start the server and return when it has its port, which it has before it is ready.

        Raises:
            EmbeddedMissing: the wheel isn't installed.
            FolderInUse: another session, or a server that one left behind, uses the folder.
            FolderUnusable: it can't be written, or holds what this version can't read.
            PortTaken: the port that was asked for is taken.
            ServiceFailed: the server ended.

        """
        if self.exit_code() is None and self._lock.held:
            return
        make_folder(self.data_dir)
        self._lock.acquire()
        try:
            self._wait_for_leftovers()
            self._prepare()
            self._launch_on_port()
        except BaseException:
            self._process.kill()
            self.release()
            raise

    def exit_code(self) -> int | None:
        """Return how it ended, None while it runs."""
        return self._process.exit_code()

    def send(self, number: signal.Signals, /) -> None:
        """Signal the main process; SIGCONT goes to its children too, as they may have been paused with it."""
        if number is signal.SIGCONT:
            self.resume()
        else:
            self._process.send(number)

    def kill(self) -> None:
        """SIGKILL the server and its children, as a power cut would, and wait until they are gone."""
        if self.exit_code() is None:
            children = descendants(self.pid)
            self._process.send(signal.SIGKILL)
            signal_all(children, signal.SIGKILL)
            self._process.kill()
            wait_gone(children, timeout=_LEFTOVER_WAIT)

    def release(self) -> None:
        """Give the folder's lock back."""
        self._lock.release()

    def failure(self, *, said: str | None = None) -> ServiceFailed:
        """Return a report with the end of its log."""
        return self._process.failure(said=said)

    def tidy(self) -> None:
        """Limit its log file."""
        self.log.limit()

    def start(self) -> None:
        """Start the server and return when it is ready; it is stopped again if it isn't in time."""
        self.launch()
        try:
            wait_ready(self)
        except BaseException:
            self.kill()
            self.release()
            raise

    def stop(self) -> None:
        """Stop it cleanly, harder if that takes too long; nothing happens if it doesn't run."""
        stop(self)

    def restart(self) -> None:
        """Stop it if it runs, start it on the same port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        self._process.send(signal.SIGSTOP)
        signal_all(descendants(self.pid), signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: the end of ``pause``."""
        if self.exit_code() is None:
            signal_all(descendants(self.pid), signal.SIGCONT)
            self._process.send(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_for_leftovers(self) -> None:
        """Wait for a server that is still going down, such as one whose session was just killed."""
        deadline = time.monotonic() + _LEFTOVER_WAIT
        while pids := working_in(self.working_folder, program=self.program):
            if time.monotonic() >= deadline:
                raise FolderInUse(
                    f"A {self.name} that an earlier session left behind still runs over {self.data_dir}: "
                    f"stop it with `kill -INT {pids[0]}`"
                )
            time.sleep(0.05)

    def _launch_on_port(self) -> None:
        for _ in range(_PORT_TRIES):
            self._port = self._port or free_port()
            if not port_is_free(self._port):
                raise self._port_taken()
            self._spawn(self._port)
            if self._has_port():
                return
            if port_is_free(self._port):
                raise self.failure()
            if self._wanted_port:
                break
            self._port = 0
        raise self._port_taken()

    def _has_port(self) -> bool:
        deadline = time.monotonic() + _LISTEN_TIMEOUT
        while self.exit_code() is None and time.monotonic() < deadline:
            if self._listening():
                return True
            time.sleep(0.01)
        return self.exit_code() is None

    def _port_taken(self) -> StackError:
        return port_taken(self._port, server=self.name, setting=self._port_setting)

    def _make_password(self) -> None:
        path = self.data_dir / "password"
        try:
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(24) + "\n")
        except OSError as error:
            raise FolderUnusable(f"{path} can't be written: {error.strerror}") from error
