from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from events import LimitKey
from storage.admission import CountedBy, Lane, Standing
from storage.policies import lane_of, limits_json
from worker.relay.allotting import Room, allot

TENANT = "default"
LIMITS = st.lists(
    st.builds(
        LimitKey,
        name=st.sampled_from(["a", "b", "c"]),
        key=st.sampled_from(["", "x"]),
        concurrency=st.none() | st.integers(1, 6),
        rate=st.none() | st.integers(1, 6),
        per=st.just(60.0),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda limit: (limit.name, limit.key),
).map(tuple)


def lane(*limits: LimitKey, priority: int = 0) -> Lane:
    name = lane_of(TENANT, limits_json(limits), priority=priority)
    assert name is not None
    return Lane(name=name, tenant=TENANT, limits=limits)


def standing(lanes: list[Lane], *, held: int = 0, started: int = 0) -> dict[CountedBy, Standing]:
    return {(one.tenant, limit): Standing(held=held, started=started) for one in lanes for limit in one.limits}


@given(
    given_limits=st.lists(LIMITS, min_size=1, max_size=8),
    due=st.lists(st.integers(0, 8), min_size=8, max_size=8),
    held=st.integers(0, 4),
    most=st.integers(0, 30),
)
def test_no_limit_is_given_more_than_it_has_left(
    given_limits: list[tuple[LimitKey, ...]], due: list[int], held: int, most: int
) -> None:
    lanes = list({found.name: found for found in (lane(*limits) for limits in given_limits)}.values())
    counts = {one.name: count for one, count in zip(lanes, due, strict=False)}
    allotted = Counter(allot(lanes, counts, Room(standing(lanes, held=held, started=held)), most=most))
    assert allotted.total() <= most
    assert all(allotted[name] <= count for name, count in counts.items())
    for one in lanes:
        for limit in one.limits if allotted[one.name] else ():
            used = held + sum(
                allotted[other.name]
                for other in lanes
                if any((limit.name, limit.key) == (found.name, found.key) for found in other.limits)
            )
            others = [
                found for other in lanes for found in other.limits if (found.name, found.key) == (limit.name, limit.key)
            ]
            assert used <= max(found.concurrency or used for found in others)
            assert used <= max(found.rate or used for found in others)


def test_lanes_take_turns_so_that_many_due_runs_get_no_more_than_few() -> None:
    shared = LimitKey(name="all", key="", concurrency=5)
    noisy, quiet = (lane(shared, LimitKey(name="tenant", key=key, concurrency=9)) for key in "ab")
    allotted = allot([noisy, quiet], {noisy.name: 1000, quiet.name: 2}, Room(standing([noisy, quiet])), most=100)
    assert allotted == [noisy.name, quiet.name, noisy.name, quiet.name, noisy.name]


def test_a_higher_priority_goes_before_and_leaves_the_rest() -> None:
    shared = LimitKey(name="all", key="", concurrency=3)
    low, high = lane(shared), lane(shared, priority=4)
    assert allot([low, high], {low.name: 5, high.name: 2}, Room(standing([low, high])), most=100) == [
        high.name,
        high.name,
        low.name,
    ]


def test_what_does_not_fit_into_one_pass_is_left() -> None:
    one = lane(LimitKey(name="all", key="", concurrency=10))
    assert len(allot([one], {one.name: 10}, Room(standing([one])), most=4)) == 4
