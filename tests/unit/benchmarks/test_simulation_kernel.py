import pytest

from benchmarks.simulation.kernel import Cores, Kernel, Level, Life, Process, Signal
from benchmarks.simulation.world import Disk


def working(kernel: Kernel, cores: Cores | Process, seconds: float, ended: list[float]) -> Life:
    yield cores.use(seconds)
    ended.append(kernel.now)


@pytest.mark.parametrize(("count", "ends"), [(1, [1.0, 2.0, 3.0]), (2, [1.0, 1.0, 2.0]), (3, [1.0, 1.0, 1.0])])
def test_cores_take_work_as_it_comes(count: int, ends: list[float]) -> None:
    kernel, ended = Kernel(begin=0.0, end=10.0), list[float]()
    cores = Cores(kernel, count)
    for _ in range(3):
        kernel.spawn(working(kernel, cores, 1.0, ended))
    kernel.run()
    assert ended == ends
    assert cores.utilisation == pytest.approx(3.0 / 10.0 / count)


def test_a_process_has_one_thread_however_many_cores_it_shares() -> None:
    kernel, ended = Kernel(begin=0.0, end=10.0), list[float]()
    shared = Cores(kernel, 4)
    process = Process(kernel, shared)
    for _ in range(3):
        kernel.spawn(working(kernel, process, 1.0, ended))
    kernel.run()
    assert ended == [1.0, 2.0, 3.0]
    assert process.utilisation == pytest.approx(0.3)


def test_processes_that_share_a_core_wait_for_each_other() -> None:
    kernel, ended = Kernel(begin=0.0, end=10.0), list[float]()
    shared = Cores(kernel, 1)
    for _ in range(2):
        kernel.spawn(working(kernel, Process(kernel, shared), 1.0, ended))
    kernel.run()
    assert ended == [1.0, 2.0]


def test_only_what_falls_into_the_measured_time_counts_as_busy() -> None:
    kernel = Kernel(begin=2.0, end=4.0)
    cores = Cores(kernel, 1)
    kernel.spawn(working(kernel, cores, 3.0, []))
    kernel.run()
    assert cores.utilisation == pytest.approx(0.5)


def committing(kernel: Kernel, disk: Disk, at: float, ended: list[float]) -> Life:
    yield kernel.sleep(at)
    yield disk.commit(100.0)
    ended.append(kernel.now)


def test_commits_that_come_during_a_flush_share_the_next() -> None:
    kernel, ended = Kernel(begin=0.0, end=10.0), list[float]()
    disk = Disk(kernel, flush=1.0, bytes_per_second=1e12)
    for at in (0.0, 0.2, 0.4, 0.6):
        kernel.spawn(committing(kernel, disk, at, ended))
    kernel.run()
    assert ended == pytest.approx([1.0, 2.0, 2.0, 2.0])
    assert disk.written == 400.0


def waiting(kernel: Kernel, signal: Signal, timeout: float | None, ended: list[float]) -> Life:
    yield signal.wait(timeout)
    ended.append(kernel.now)


def test_a_signal_wakes_all_that_wait_and_a_timeout_only_its_own() -> None:
    kernel, ended = Kernel(begin=0.0, end=10.0), list[float]()
    signal = Signal(kernel)
    for timeout in (None, 1.0, 5.0):
        kernel.spawn(waiting(kernel, signal, timeout, ended))
    kernel.after(3.0, signal.set)
    kernel.run()
    assert ended == [1.0, 3.0, 3.0]


def test_a_level_is_averaged_over_time() -> None:
    kernel = Kernel(begin=0.0, end=10.0)
    level = Level(kernel, 4)
    kernel.after(2.0, lambda: level.move(4))
    kernel.after(7.0, lambda: level.move(-4))
    kernel.run()
    assert level.utilisation == pytest.approx(0.5)
