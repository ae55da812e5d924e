import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest
from typer.testing import CliRunner

from events import Event, Failed, JsonValue, Outcome, Retry, Succeeded, new_id
from pipelines import MemoryJournal, execute
from throughline.cli.main import app
from throughline.client import Client
from throughline.load import Steady, send_steadily
from throughline.load.flows import TYPE, pipeline
from throughline.load.steady import FAILS_EVERY, STUMBLES_EVERY, events
from throughline.samples import SAMPLES, read_samples

ACCEPTED = httpx.Response(202, json={"event_id": "one"})


def client_over(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client("http://api.example", transport=httpx.MockTransport(answer))


def test_every_sample_and_every_rehearsal_is_sent() -> None:
    sent = list(itertools.islice(events(), FAILS_EVERY))
    acts = Counter(event["data"]["act"] for event in sent if event["type"] == TYPE)
    assert acts == {"stumbles": FAILS_EVERY // STUMBLES_EVERY, "succeeds": FAILS_EVERY // STUMBLES_EVERY, "fails": 1}
    kinds = {event["type"] for event in sent}
    assert kinds == {sample.event["type"] for sample in read_samples(SAMPLES)} | {TYPE}
    assert all("id" not in event for event in sent), "the same event again would be none"


def test_each_kind_is_seen_within_the_first_half_minute_at_the_usual_rate() -> None:
    first = list(itertools.islice(events(), 60))
    assert {event["data"]["act"] for event in first if event["type"] == TYPE} == {"stumbles", "succeeds", "fails"}


def test_an_api_that_refuses_or_is_away_ends_nothing() -> None:
    answers = itertools.cycle([ACCEPTED, httpx.Response(503), None])

    def answer(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content)["source"] == "throughline-load"
        response = next(answers)
        if response is None:
            raise httpx.ConnectError("nobody is there", request=request)
        return response

    with client_over(answer) as client:
        sent = send_steadily(client, Steady(rate=1000.0, most=9), stop=threading.Event())
    assert (sent.accepted, sent.refused, sent.unreachable) == (3, 3, 3)


def test_it_ends_when_it_is_told_to() -> None:
    stop = threading.Event()
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) == 3:
            stop.set()
        return ACCEPTED

    with client_over(answer) as client:
        sent = send_steadily(client, Steady(rate=1000.0), stop=stop)
    assert sent.accepted == len(seen) == 3


@pytest.mark.parametrize("rate", ["nan", "inf", "0", "-1", "51"])
def test_a_rate_that_is_none_is_refused_before_anything_is_sent(rate: str) -> None:
    done = CliRunner().invoke(app, ["load", "--rate", rate, "--most", "1", "--url", "http://127.0.0.1:1"])
    assert done.exit_code == 2
    assert "--rate" in done.output


async def rehearse(**data: JsonValue) -> Outcome:
    event = Event(event_id=new_id(), ce_id="1", type=TYPE, data=data, received_at=datetime.now(UTC))
    return await execute(pipeline, pipeline.context(event), MemoryJournal())


async def test_a_rehearsal_does_what_it_is_told() -> None:
    assert await rehearse() == Succeeded()
    failed = await rehearse(act="fails")
    assert isinstance(failed, Failed)
    assert isinstance(await rehearse(act="stumbles"), Retry)
