import pytest

from throughline.supervision import Progress, Step


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (Progress(service="postgres", step=Step.READY, seconds=0.81), "postgres ready 0.8 s"),
        (Progress(service="api", step=Step.STOPPING), "api stopping"),
        (Progress(service="worker", step=Step.RESTARTING, seconds=0.5), "worker starts again in 0.5 s"),
        (Progress(service="worker", step=Step.ENDED, detail="worker exited"), "worker exited"),
    ],
)
def test_progress_reads_as_one_line(progress: Progress, line: str) -> None:
    assert str(progress) == line
