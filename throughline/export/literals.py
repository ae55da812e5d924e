import pprint

from events import JsonValue

_WIDTH = 116


def literal(value: JsonValue, *, indent: int) -> str:
    """Write JSON as Python, its lines but the first ``indent`` spaces in."""
    text = pprint.pformat(value, width=_WIDTH - indent, sort_dicts=False)
    return text.replace("\n", "\n" + " " * indent)
