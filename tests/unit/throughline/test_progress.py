import re
from datetime import UTC, datetime, timedelta

import pytest

from throughline.supervision import Progress, Step


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (Progress(service="postgres", step=Step.READY, seconds=0.81), "postgres ready 0.8 s"),
        (Progress(service="api", step=Step.STOPPING), "api stopping"),
        (Progress(service="worker", step=Step.RESTARTING, seconds=0.5), "worker starts again in 0.5 s"),
        (
            Progress(service="worker", step=Step.RESTARTING, seconds=1.0, tries=2),
            "worker starts again in 1.0 s, try 2",
        ),
        (Progress(service="worker", step=Step.ENDED, detail="worker exited"), "worker exited"),
    ],
)
def test_progress_reads_as_one_line(progress: Progress, line: str) -> None:
    assert str(progress) == line


def test_a_long_pause_is_told_with_when_it_is_over() -> None:
    began = datetime.now(UTC).astimezone()
    line = str(Progress(service="api", step=Step.RESTARTING, seconds=30.0, tries=7))
    found = re.fullmatch(r"api starts again in 30\.0 s, at (\d\d:\d\d:\d\d), try 7", line)
    assert found is not None
    over = [(began + timedelta(seconds=30 + late)).strftime("%H:%M:%S") for late in range(3)]
    assert found[1] in over
