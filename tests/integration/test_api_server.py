"""The API as a process of its own, on a real socket."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import asyncpg
import httpx

_PROGRAM = """
import sys
from api.serve import serve
from events import ConfigurationError
from settings import load_settings
try:
    serve(load_settings())
except ConfigurationError as error:
    sys.exit(str(error))
"""


@contextmanager
def api_process(database_url: str, log: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("THROUGHLINE_")}
    environment |= {"THROUGHLINE_DATABASE_URL": database_url, "THROUGHLINE_API_PORT": "0", **settings}
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-c", _PROGRAM], env=environment, stderr=output)
    try:
        yield process, _port(process, log)
    finally:
        process.kill()
        process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + 30
    while "Application startup complete" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    found = re.search(r'"port":(\d+)', log.read_text())
    assert found is not None
    return int(found[1])


def exchange(port: int, request: bytes, *, then_close: bool = False) -> bytes:
    """Send raw bytes; return what comes back until the server closes or is silent for a second."""
    answer = b""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=1)) as connection:
        connection.sendall(request)
        if then_close:
            return b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except TimeoutError:
            pass
    return answer


HEAD = b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
EVENT = b'{"type":"a","data":1}'


def count_events(database_url: str) -> int:
    return asyncio.run(_count_events(database_url))


async def _count_events(database_url: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM events"))
    finally:
        await connection.close()


def test_on_the_wire(database_url: str, tmp_path: Path) -> None:
    """Chunked, truncated, oversized and garbled requests: no 500, nothing half stored, and the server goes on."""
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    with api_process(database_url, tmp_path / "log", THROUGHLINE_API_MAX_BODY_BYTES="10000") as (process, port):
        whole = exchange(port, chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(EVENT), EVENT))
        assert whole.startswith(b"HTTP/1.1 202 ")
        assert b"\r\nserver:" not in whole.lower()
        large = exchange(port, chunked + b"2000\r\n" + b"x" * 0x2000 + b"\r\n2000\r\n" + b"x" * 0x2000 + b"\r\n")
        assert large.startswith(b"HTTP/1.1 413 ")
        exchange(port, chunked + b"%x\r\n%s\r\n" % (len(EVENT), EVENT), then_close=True)
        exchange(port, HEAD + b"Content-Length: 500\r\n\r\n" + EVENT, then_close=True)
        assert exchange(port, chunked + b"zz\r\n").startswith(b"HTTP/1.1 400 ")
        assert exchange(port, b"\x00\xff garbage\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        again = httpx.post(f"http://127.0.0.1:{port}/events", json={"type": "a", "data": 2})
        assert again.status_code == 202
        assert process.poll() is None
        assert count_events(database_url) == 2
        assert "request failed" not in (tmp_path / "log").read_text()


def test_sigterm_answers_what_is_open_and_ends_in_zero(database_url: str, tmp_path: Path) -> None:
    answers: list[int] = []
    errors: list[Exception] = []
    stopping = threading.Event()
    with api_process(database_url, tmp_path / "log") as (process, port):

        def send() -> None:
            with httpx.Client() as client:
                while not stopping.is_set():
                    try:
                        answer = client.post(f"http://127.0.0.1:{port}/events", json={"type": "a", "data": 1})
                        answers.append(answer.status_code)
                    except httpx.TransportError as error:
                        errors.append(error)
                        return

        senders = [threading.Thread(target=send) for _ in range(8)]
        for sender in senders:
            sender.start()
        while len(answers) < 50:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        stopping.set()
        for sender in senders:
            sender.join()
    assert set(answers) == {202}
    assert {type(error) for error in errors} == {httpx.ConnectError}, errors
    assert count_events(database_url) >= len(answers)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_who_connects_while_it_stops_is_refused_or_answered(database_url: str, tmp_path: Path) -> None:
    """Never taken in and dropped: that looks like an event of which nobody knows whether it was stored."""
    said: Counter[str] = Counter()
    with api_process(database_url, tmp_path / "log") as (process, port):

        def connect() -> None:
            while not said["refused"]:
                said[_asked(port)] += 1

        with ThreadPoolExecutor(8) as pool:
            asking = [pool.submit(connect) for _ in range(8)]
            while said["answered"] < 100:
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            for one in asking:
                one.result()
        assert process.wait(timeout=20) == 0
    assert set(said) == {"answered", "refused"}


def _asked(port: int) -> str:
    """Ask over a connection of its own; tell how that went."""
    try:
        connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    except ConnectionRefusedError:
        return "refused"
    with closing(connection):
        try:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b""
            while chunk := connection.recv(4096):
                answer += chunk
        except ConnectionError as error:
            return type(error).__name__
    return "answered" if answer.startswith(b"HTTP/1.1 200 ") else f"cut off after {len(answer)} bytes"


def test_a_taken_port_is_told_in_one_line() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("THROUGHLINE_")}
        ended = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            env=environment | {"THROUGHLINE_API_PORT": str(port)},
            cwd=Path.cwd(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert f"can't listen on 127.0.0.1:{port}" in ended.stderr
    assert "THROUGHLINE_API_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_one_line_an_event_and_none_a_request(database_url: str, tmp_path: Path) -> None:
    """The line has the ids of the answer."""
    with api_process(database_url, tmp_path / "log") as (_process, port):
        before = (tmp_path / "log").read_text()
        answer = httpx.post(f"http://127.0.0.1:{port}/events", json={"type": "a", "data": 1}).json()
        httpx.get(f"http://127.0.0.1:{port}/events")
        lines = (tmp_path / "log").read_text().removeprefix(before).splitlines()
    assert len(lines) == 1
    assert f'"event_id":"{answer["event_id"]}"' in lines[0]
    assert f'"trace_id":"{answer["trace_id"]}"' in lines[0]
