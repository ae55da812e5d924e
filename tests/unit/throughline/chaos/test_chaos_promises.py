from pathlib import Path

import pytest

from throughline.chaos.ledger import NORMAL, Answer, Ledger, Sent
from throughline.chaos.promises import breaches, latency_ratio
from throughline.chaos.recovery import Injection, Timeline
from throughline.chaos.scene import Fault

ALLOWING = {"503": "postgres_away", "refused": "api_stops", "broken": "api_dies"}


def injection(*, recovery: float | None = 1.0, idle: str = "", **allowed: bool) -> Injection:
    """A fault from 100 to 110, recovered at 111."""
    fault = Fault(name="quake", inject=lambda _scene: None, limit=15.0, **allowed)
    missing = () if recovery else ("consuming",)
    return Injection(fault=fault, began=100.0, healed=110.0, recovery=recovery, missing=missing, idle=idle)


def ledger(folder: Path, *answers: Answer) -> Ledger:
    made = Ledger(folder / "answers")
    for number, answer in enumerate(answers):
        made.answered(Sent(ce_id=f"{number}", type="t", data={}), answer, event_id=None)
    made.close()
    return made


def answered(said: str, *, at: float = 105.0, seconds: float = 0.1) -> Answer:
    return Answer(phase="quake", said=said, seconds=seconds, at=at)


def test_kept_promises_are_no_breach(tmp_path: Path) -> None:
    books = ledger(tmp_path, answered("202"), answered("200"), answered("503"))
    assert breaches([injection(postgres_away=True)], books, ended=[]) == []


def test_late_recovery_is_a_breach(tmp_path: Path) -> None:
    [late] = breaches([injection(recovery=15.1)], ledger(tmp_path), ended=[])
    assert "quake recovered after 15.1 s, 15 s are allowed" in late


def test_no_recovery_is_a_breach(tmp_path: Path) -> None:
    [never] = breaches([injection(recovery=None)], ledger(tmp_path), ended=[])
    assert "quake never recovered: consuming" in never


def test_fault_that_did_nothing_is_a_breach(tmp_path: Path) -> None:
    [idle] = breaches([injection(idle="nobody was there")], ledger(tmp_path), ended=[])
    assert "did nothing: nobody was there" in idle


def test_process_that_ended_unasked_is_a_breach(tmp_path: Path) -> None:
    assert breaches([], ledger(tmp_path), ended=["worker-1 exited with code 1"])


def test_slow_refusal_is_a_breach(tmp_path: Path) -> None:
    books = ledger(tmp_path, answered("503", seconds=2.6))
    assert breaches([injection(postgres_away=True)], books, ended=[]) == ["a 503 took 2.6 s"]


def test_what_the_client_itself_delayed_is_not_the_answers(tmp_path: Path) -> None:
    books = ledger(tmp_path, Answer(phase="quake", said="503", seconds=9.0, delay=6.6, at=105.0))
    assert breaches([injection(postgres_away=True)], books, ended=[]) == []


@pytest.mark.parametrize("said", ["503", "refused", "broken"])
def test_refusal_is_a_breach_but_near_a_fault_that_allows_it(tmp_path: Path, said: str) -> None:
    inside, outside = ledger(tmp_path, answered(said)), ledger(tmp_path, answered(said, at=130.0))
    allowing = {ALLOWING[said]: True}
    assert breaches([injection(**allowing)], inside, ended=[]) == []
    assert breaches([injection(**allowing)], outside, ended=[])
    assert breaches([injection(**{name: True for name in ALLOWING.values() if name not in allowing})], inside, ended=[])


@pytest.mark.parametrize("said", ["500", "502", "422", "timeout", "202 KeyError"])
def test_any_other_answer_is_a_breach_always(tmp_path: Path, said: str) -> None:
    found = breaches(
        [injection(postgres_away=True, api_stops=True, api_dies=True)], ledger(tmp_path, answered(said)), ended=[]
    )
    assert len(found) == 1
    assert f"answered {said}" in found[0]


def test_post_that_waits_for_redis_is_a_breach(tmp_path: Path) -> None:
    def books(away: float) -> Ledger:
        peace = [Answer(phase=NORMAL, said="202", seconds=0.01)] * 20
        return ledger(tmp_path, *peace, *[Answer(phase="quake", said="202", seconds=away, away=True)] * 20)

    assert latency_ratio(books(0.03)) == pytest.approx(3.0)
    assert breaches([], books(0.03), ended=[]) == []
    assert "3.1 times as long" in breaches([], books(0.031), ended=[])[0]


def test_bursts_and_few_samples_say_nothing_of_latency(tmp_path: Path) -> None:
    peace = [Answer(phase=NORMAL, said="202", seconds=0.01)] * 20
    burst = [Answer(phase="quake", said="202", seconds=9.0, away=True, steady=False)] * 20
    few = [Answer(phase="quake", said="202", seconds=9.0, away=True)] * 19
    assert latency_ratio(ledger(tmp_path, *peace, *burst, *few)) is None


def test_timeline_explains_what_is_near_and_names_the_last_fault_that_had_begun() -> None:
    timeline = Timeline([injection()])
    assert [timeline.explained(moment) for moment in (98.0, 99.5, 126.0, 127.0)] == [False, True, True, False]
    assert [timeline.phase(moment) for moment in (90.0, 105.0, 500.0)] == [NORMAL, "quake", "quake"]
