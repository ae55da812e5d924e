import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.support.relaying import World, until
from throughline.embedded import free_port

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("away", [False, True], ids=["all well", "PostgreSQL and Redis away"])
async def test_the_process_serves_metrics_and_stops_when_asked(
    database_url: str, redis_url: str, number: signal.Signals, away: bool
) -> None:
    port = free_port()
    own = {key: value for key, value in os.environ.items() if not key.startswith(("THROUGHLINE_", "OTEL_"))}
    settings = {
        "THROUGHLINE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x" if away else database_url,
        "THROUGHLINE_REDIS_URL": "redis://127.0.0.1:1/0" if away else redis_url,
        "THROUGHLINE_RELAY_METRICS_PORT": str(port),
    }
    code = "from settings import Settings; from worker.relay import main; main(Settings())"
    async with World(database_url=database_url, redis_url=redis_url) as world:
        process = subprocess.Popen(  # noqa: ASYNC220 - the loop has nothing else to do
            [sys.executable, "-c", code], cwd=ROOT, env=own | settings, stderr=subprocess.PIPE, text=True
        )
        try:

            def scrape() -> str:
                try:
                    return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
                except httpx.TransportError:
                    return ""

            await until(lambda: "throughline_relay_last_pass_timestamp_seconds" in scrape(), within=30.0)
            if not away:
                (run_id,) = await world.store()
                await until(lambda: world.sent() == [run_id], within=20.0)
            began = time.monotonic()
            process.send_signal(number)
            _, log = process.communicate(timeout=20)
            took = time.monotonic() - began
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0, log
    assert took < 3.0
    assert "relay stopped" in log
    assert "Traceback" not in log
