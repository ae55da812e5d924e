from typing import Any

import pytest

from throughline.timeline.items import MOST_SHOWN, summed_up


def an_item(number: int, *, status: str = "succeeded", node: str = "score") -> dict[str, Any]:
    started_at = f"2026-01-01T00:00:{number % 60:02}+00:00"
    return {"node": node, "item": number, "status": status, "error": None, "started_at": started_at, "duration": 2.0}


def test_few_items_are_shown_one_by_one() -> None:
    nodes = [an_item(0, node="before"), *(an_item(number) for number in range(1, MOST_SHOWN + 1))]
    assert list(summed_up(nodes)) == [(node, None) for node in nodes]


@pytest.mark.parametrize(
    ("ended", "told", "status", "shown"),
    [
        ({}, "map 1,000 items", "succeeded", 0),
        ({7: "failed", 8: "failed", 900: "failed"}, "map 1,000 items, 3 failed", "failed", 3),
        (dict.fromkeys(range(1, 51), "failed"), "map 1,000 items, 50 failed", "failed", 5),
        ({5: "stopped"}, "map 1,000 items, 1 stopped", "stopped", 0),
    ],
)
def test_many_items_are_one_line_and_the_first_that_failed(
    ended: dict[int, str], told: str, status: str, shown: int
) -> None:
    items = [an_item(number, status=ended.get(number, "succeeded")) for number in range(1, 1001)]
    whole, *failed, list_of_all = summed_up([*items, an_item(0)])
    assert (whole[1], whole[0]["status"], whole[0]["item"]) == (told, status, 0)
    assert (whole[0]["started_at"], whole[0]["duration"]) == ("2026-01-01T00:00:00+00:00", 61.0)
    assert failed == [(items[number - 1], None) for number in sorted(ended) if ended[number] == "failed"][:shown]
    assert list_of_all == (an_item(0), None)
