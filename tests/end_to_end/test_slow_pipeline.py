from pathlib import Path

from tests.support.system import System

FLOWS = {"THROUGHLINE_PIPELINES_MODULES": '["tests.support.flows"]'}
PARKED = 60
QUICK = 40


def test_a_slow_pipeline_with_a_queue_of_its_own_holds_up_nobody(whole: System, tmp_path: Path) -> None:
    """Its runs fill its window and its worker's slots; what comes after them elsewhere does not wait for one."""
    data = {"log": str(tmp_path / "calls")}
    whole.start_api(**FLOWS)
    whole.start_relay(THROUGHLINE_RELAY_WINDOW="20", **FLOWS)
    whole.start_worker("worker-slow", THROUGHLINE_WORKER_QUEUES='["slow"]', THROUGHLINE_WORKER_SLOTS="4", **FLOWS)
    whole.start_worker("worker-quick", **FLOWS)
    parked = [
        whole.post({"type": "test.parked", "id": f"parked-{number}", "data": {**data, "sleep": 60.0}})
        for number in range(PARKED)
    ]
    quick = [whole.post({"type": "test.steady", "id": f"quick-{number}", "data": data}) for number in range(QUICK)]
    for answer in quick:
        assert whole.ended(answer["event_id"], timeout=20.0)["status"] == "succeeded"
    assert {whole.get(answer["event_id"])["status"] for answer in parked} <= {"queued", "running"}
