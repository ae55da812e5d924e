import json

import pytest

from benchmarks.flow import Order
from benchmarks.http_wire import read_message
from benchmarks.payload import Requests, event_id, event_parts


def _bodies(requests: Requests, count: int) -> list[bytes]:
    messages = [read_message(requests.next()) for _ in range(count)]
    assert all(message is not None and not message.rest for message in messages)
    return [message.body for message in messages if message is not None]


def test_every_event_has_an_id_of_its_own_and_is_what_the_schema_wants() -> None:
    events = [json.loads(body) for body in _bodies(Requests("bench.three", source="s"), 50)]
    assert len({event["id"] for event in events}) == 50
    assert all(event["type"] == "bench.three" and event["source"] == "s" for event in events)
    assert Order.model_validate(events[0]["data"]).lines[2].count == 3


def test_a_batch_is_an_array_of_events_and_no_id_comes_twice() -> None:
    requests = Requests("bench.three", source="s", batch=100)
    batches = [json.loads(body) for body in _bodies(requests, 3)]
    assert [len(batch) for batch in batches] == [100, 100, 100]
    assert len({event["id"] for batch in batches for event in batch}) == 300
    assert requests.events == 100


def test_what_a_waiting_event_waits_is_in_its_data() -> None:
    before, after = event_parts("bench.waiting", source="s", wait=1.0)
    assert json.loads(before + b"1" + after)["data"]["wait"] == 1.0


@pytest.mark.parametrize("number", [0, 1, 10**9])
def test_ids_are_equally_long(number: int) -> None:
    assert len(event_id(number)) == 16
