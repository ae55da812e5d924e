"""The items of a map, which may be thousands, in a few lines."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

MOST_SHOWN = 10
"""Items of a map that are shown one by one in an attempt."""
_MOST_FAILED = 5


def summed_up(nodes: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield the results of one attempt in their order, those of many items of one map as one result.

    With that one comes what it sums up (``map 1,000 items, 3 failed``), and after it the first items that failed.
    """
    items: dict[str, list[dict[str, Any]]] = {}
    for result in nodes:
        if result["item"]:
            items.setdefault(result["node"], []).append(result)
    many = {name: of_node for name, of_node in items.items() if len(of_node) > MOST_SHOWN}
    for result in nodes:
        if not result["item"] or result["node"] not in many:
            yield result, None
        elif (of_node := many[result["node"]])[0] is result:
            yield _whole(of_node), _told(of_node)
            yield from ((failed, None) for failed in _failed(of_node)[:_MOST_FAILED])


def _whole(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one result that lasts from the first item's beginning to the last one's end."""
    begin = min(datetime.fromisoformat(item["started_at"]) for item in items)
    end = max(datetime.fromisoformat(item["started_at"]) + timedelta(seconds=item["duration"]) for item in items)
    status = "failed" if _failed(items) else "stopped" if _count(items, "stopped") else "succeeded"
    return items[0] | {
        "item": 0,
        "status": status,
        "error": None,
        "started_at": begin.isoformat(),
        "duration": (end - begin).total_seconds(),
    }


def _told(items: list[dict[str, Any]]) -> str:
    counted = [f"{count:,} {status}" for status in ("failed", "stopped") if (count := _count(items, status))]
    return ", ".join((f"map {len(items):,} items", *counted))


def _failed(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in items if item["status"] == "failed"]


def _count(items: list[dict[str, Any]], status: str) -> int:
    return sum(item["status"] == status for item in items)
