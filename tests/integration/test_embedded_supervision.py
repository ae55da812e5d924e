"""What becomes of real processes when they end, or when we do."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from throughline.embedded import EmbeddedPostgres
from throughline.errors import ServiceFailed
from throughline.supervision import OnExit, ProcessService, Progress, Step, Supervisor
from throughline.supervision.guard import guard

_SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
_PARENT = (
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "print('forked', flush=True); time.sleep(600)"
)
_STACK = """
    import sys, time
    from pathlib import Path
    from throughline.embedded import DataFolder, EmbeddedPostgres, EmbeddedRedis
    from throughline.supervision import ProcessService, Supervisor

    parent = sys.argv[2]
    with DataFolder(Path(sys.argv[1])) as folder, Supervisor() as supervisor:
        postgres, redis = EmbeddedPostgres(folder.postgres), EmbeddedRedis(folder.redis)
        supervisor.start(postgres, redis)
        worker = ProcessService("worker", [sys.executable, "-c", parent], logs=folder.logs)
        supervisor.start(worker)
        while not (folder.logs / "worker.log").read_text():
            time.sleep(0.01)
        print("up", flush=True)
        supervisor.watch()
"""


def _eventually(condition: Callable[[], bool], *, timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _stack(folder: Path) -> "tuple[subprocess.Popen[str], list[psutil.Process]]":
    """Start a whole stack in a process of its own; return it and everything that it started, once all is up."""
    stack = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_STACK), str(folder), _PARENT],
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 - only undoes a nohup
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert stack.stdout is not None
    assert stack.stdout.readline() == "up\n"
    started = psutil.Process(stack.pid).children(recursive=True)
    assert {"postgres", "redis-server"} < {process.name() for process in started}
    return stack, started


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_running_however_the_supervisor_ends(tmp_path: Path, number: signal.Signals) -> None:
    """PostgreSQL and Redis, a worker and the worker's own child."""
    stack, started = _stack(tmp_path)
    stack.send_signal(number)
    with stack:
        stack.wait(20)
    _eventually(lambda: not any(map(_runs, started)))


def test_data_survive_the_sigkill_of_the_supervisor_and_the_folder_is_free_at_once(tmp_path: Path) -> None:
    stack, _ = _stack(tmp_path)
    stack.kill()
    stack.wait()
    with stack, EmbeddedPostgres(tmp_path / "postgres") as postgres:
        assert postgres.psql("SELECT 1") == "1"


def test_nothing_is_left_when_the_guard_is_killed_together_with_the_supervisor(tmp_path: Path) -> None:
    """The kernel's parent death signal is the second net, for the processes that the supervisor itself started."""
    stack, started = _stack(tmp_path)
    own = [process for process in started if process.ppid() == stack.pid]
    guards = [process for process in own if "guard_process" in " ".join(process.cmdline())]
    assert len(guards) == 1
    guards[0].suspend()
    stack.kill()
    with stack:
        stack.wait(20)
    guards[0].kill()
    _eventually(lambda: not any(map(_runs, own)))
    for process in filter(_runs, started):
        process.kill()


def test_an_early_end_is_reported_with_name_code_and_the_last_lines(tmp_path: Path) -> None:
    service = ProcessService("api", [sys.executable, "-c", "print('no database'); raise SystemExit(3)"], logs=tmp_path)
    service._ready = lambda: False

    def up() -> None:
        with Supervisor() as supervisor:
            supervisor.start(service)

    with pytest.raises(
        ServiceFailed, match=r"^api exited with code 3 after .* s; the end of .*api\.log:\n  no database$"
    ):
        up()


def test_a_command_that_isnt_there_is_reported(tmp_path: Path) -> None:
    service = ProcessService("flower", [str(tmp_path / "none")], logs=tmp_path)
    service._ready = lambda: False

    def up() -> None:
        with Supervisor() as supervisor:
            supervisor.start(service)

    with pytest.raises(ServiceFailed, match="flower"):
        up()


def test_a_worker_killed_by_kill_9_takes_its_children_along_and_is_started_again(tmp_path: Path) -> None:
    told: list[Progress] = []
    worker = ProcessService("worker", [sys.executable, "-c", _PARENT], logs=tmp_path)
    with Supervisor(on_exit=OnExit.RESTART, report=told.append) as supervisor:
        supervisor.start(worker)
        assert supervisor.watch(until=lambda: "forked" in worker.process.log.tail(), timeout=10)
        first = worker.pid
        (child,) = psutil.Process(first).children()
        os.kill(first, signal.SIGKILL)
        assert supervisor.watch(until=lambda: [p.step for p in told].count(Step.READY) == 2, timeout=10)
        assert worker.pid != first
        assert not _runs(child)
    (end,) = [str(progress) for progress in told if progress.step is Step.ENDED]
    assert end.startswith("worker was killed by SIGKILL")


def test_postgres_killed_by_kill_9_is_started_again_on_its_port_with_its_data(tmp_path: Path) -> None:
    told: list[Progress] = []
    postgres = EmbeddedPostgres(tmp_path)
    with Supervisor(on_exit=OnExit.RESTART, report=told.append) as supervisor:
        supervisor.start(postgres)
        url = postgres.url
        postgres.psql("CREATE TABLE kept (n int)")
        os.kill(postgres.pid, signal.SIGKILL)
        assert supervisor.watch(until=lambda: [p.step for p in told].count(Step.READY) == 2, timeout=20)
        assert postgres.url == url
        assert postgres.psql("SELECT count(*) FROM kept") == "0"


def test_a_process_that_ignores_sigterm_is_killed_after_its_time(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    told: list[Progress] = []
    deaf = ProcessService("deaf", [sys.executable, "-c", code], logs=tmp_path, stop_timeout=0.1)
    with Supervisor(report=told.append) as supervisor:
        supervisor.start(deaf)
        assert supervisor.watch(until=lambda: "deaf" in deaf.process.log.tail(), timeout=10)
    assert deaf.exit_code() == -9
    assert told[-1].step is Step.KILLED


def test_a_process_started_from_a_thread_outlives_the_thread(tmp_path: Path) -> None:
    """Linux's parent death signal goes by thread: a restart through asyncio.to_thread must not end with it."""
    service = ProcessService("sleeper", [sys.executable, "-c", _SLEEPER], logs=tmp_path)
    thread = threading.Thread(target=service.launch)
    thread.start()
    thread.join()
    _eventually(lambda: service.process.log.tail() == ["up"])
    assert service.exit_code() is None
    service.kill()


def test_a_killed_guard_is_replaced_and_still_knows_whom_to_guard(tmp_path: Path) -> None:
    service = ProcessService("sleeper", [sys.executable, "-c", _SLEEPER], logs=tmp_path)
    with Supervisor() as supervisor:
        supervisor.start(service)
        first = guard().pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert supervisor.watch(until=lambda: guard().pid != first, timeout=5)
        assert service.pid in guard()._wishes
