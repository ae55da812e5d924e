import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.verify

_ROOT = Path(__file__).resolve().parents[2]
_STARTS_SERVERS = """
import signal
from tests.support.servers import ServerProcess, Servers

signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background would have it ignored
process = ServerProcess()
servers = Servers(address=process.address, worker="main")
print(servers.create_database(migrated=False), servers.redis(), flush=True)
signal.pause()
"""


def listens(url: str) -> bool:
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname, address.port)) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_no_server_outlives_the_run_that_started_it(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _STARTS_SERVERS], cwd=_ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        urls = run.stdout.readline().split()
        assert len(urls) == 2
        assert all(listens(url) for url in urls)
        run.send_signal(number)
    give_up_at = time.monotonic() + 30
    while any(listens(url) for url in urls) and time.monotonic() < give_up_at:
        time.sleep(0.05)
    assert not any(listens(url) for url in urls)
