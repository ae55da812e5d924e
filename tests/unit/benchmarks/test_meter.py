import os
import time

from benchmarks.meter import thread_seconds


def test_the_time_of_threads_is_what_the_process_spent() -> None:
    before, clock = thread_seconds(os.getpid()), time.process_time()
    while time.process_time() - clock < 0.05:
        pass
    spent = time.process_time() - clock
    assert 0.5 * spent < thread_seconds(os.getpid()) - before < 1.5 * spent
