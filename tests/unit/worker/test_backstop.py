import os
import threading

from settings import Settings
from worker.backstop import Backstop


def test_the_process_ends_in_time_whatever_goes_wrong_on_the_way_out() -> None:
    def kill() -> None:
        raise RuntimeError("the children are not ours")

    pid = os.fork()
    if pid == 0:
        backstop = Backstop(Settings(), prefix="worker@nowhere", limit=0.0, kill=kill)
        backstop.start()
        backstop.begin(hurry=True)
        threading.Event().wait(10.0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
