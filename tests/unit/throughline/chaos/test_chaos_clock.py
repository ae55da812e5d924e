import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import throughline.chaos.wrong_clock as folder

SAY = """
import time
right, steady = time.clock_gettime(time.CLOCK_REALTIME), time.monotonic()
import datetime, json
from datetime import UTC
print(json.dumps({
    "time": time.time() - right,
    "time_ns": time.time_ns() / 1e9 - right,
    "now": datetime.datetime.now().timestamp() - right,
    "aware": datetime.datetime.now(UTC).timestamp() - right,
    "utcnow": datetime.datetime.utcnow().replace(tzinfo=UTC).timestamp() - right,
    "monotonic": time.monotonic() - steady,
    "same class": type(datetime.datetime.now()) is datetime.datetime,
}))
"""


def shifts(**variables: str) -> dict[str, float]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(folder.__file__).parent)} | variables
    said = subprocess.run([sys.executable, "-c", SAY], check=True, capture_output=True, env=environment).stdout
    found: dict[str, float] = json.loads(said)
    return found


@pytest.mark.parametrize("shift", [3600.0, -3600.0])
def test_wall_clock_is_wrong_and_nothing_else(shift: float) -> None:
    found = shifts(CHAOS_CLOCK_SHIFT=str(shift))
    assert found.pop("same class")
    assert found.pop("monotonic") == pytest.approx(0.0, abs=5.0)
    assert found == pytest.approx(dict.fromkeys(found, shift), abs=5.0)


def test_clock_is_right_without_being_asked() -> None:
    found = shifts()
    del found["same class"]
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=5.0)
