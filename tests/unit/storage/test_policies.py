import pytest

from events import LimitKey
from storage.policies import RunPolicy, lane_of, limits_json, limits_of, policy_columns

A = LimitKey(name="a", key="1", concurrency=2)
B = LimitKey(name="b", key="", rate=5, per=60.0)


def test_limits_are_written_alike_in_whatever_order_they_come_and_read_as_they_were() -> None:
    assert limits_json((A, B)) == limits_json((B, A))
    assert limits_of([{"name": "a", "key": "1", "concurrency": 2, "rate": None, "per": None}]) == (A,)
    assert limits_json(()) is None
    assert limits_of(None) == ()


def test_runs_share_a_lane_that_want_the_same_permits_and_no_others() -> None:
    text = limits_json((A, B))
    assert lane_of("t", text, priority=0) == lane_of("t", limits_json((B, A)), priority=0)
    others = [("u", text, 0), ("t", limits_json((A,)), 0), ("t", text, 1)]
    names = {lane_of(tenant, limits, priority=priority) for tenant, limits, priority in [("t", text, 0), *others]}
    assert len(names) == 4


@pytest.mark.parametrize("priority", range(9))
def test_lanes_of_a_higher_priority_come_first(priority: int) -> None:
    text = limits_json((A,))
    assert str(lane_of("t", text, priority=priority + 1)) < str(lane_of("t", text, priority=priority))


def test_a_lanes_name_is_short_however_long_the_keys_are() -> None:
    assert (
        len(str(lane_of("t", limits_json([LimitKey(name=f"n{i}", key="鍵" * 255) for i in range(20)]), priority=0)))
        < 40
    )


def test_what_has_no_policy_has_the_columns_of_one_that_says_nothing() -> None:
    assert policy_columns([("t", None), ("t", RunPolicy(priority=3, ttl=5.0, unique_key="k"))]) == (
        [0, 3],
        [None, 5.0],
        [None, "k"],
        [None, None],
        [None, None],
    )
