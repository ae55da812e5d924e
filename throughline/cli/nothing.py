import difflib
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from throughline.cli.output import errors

if TYPE_CHECKING:
    from throughline.client import Client

_NEWEST = 100
_MOST = 5


def say_nothing_matches(client: "Client", what: str, *, kind: str | None, pipeline: str | None) -> None:
    """Say on stderr that no ``what`` match, and which names are like the type and the pipeline that were asked for.

    Names are those of the API's pipelines and of the newest events.
    """
    said = [f"no {what} match"]
    for label, wanted in (("--type", kind), ("--pipeline", pipeline)):
        if wanted:
            near = near_names(wanted, _names(client, of_types=label == "--type"))
            said.append(f"{label} is exact" + (f"; near {wanted!r}: {', '.join(near)}" if near else ""))
    errors.print("; ".join(said), markup=False, soft_wrap=True)


def near_names(wanted: str, names: Collection[str]) -> list[str]:
    """Return a few names that may be meant: alike, or with ``wanted`` in them; none when ``wanted`` is one itself."""
    if wanted in names:
        return []
    low = wanted.casefold().strip("*")
    holding = sorted(name for name in names if low and low in name.casefold())
    alike = difflib.get_close_matches(wanted, sorted(names), n=_MOST)
    return list(dict.fromkeys([*alike, *holding]))[:_MOST]


def _names(client: "Client", *, of_types: bool) -> set[str]:
    """Return the types, or the names of pipelines, that the API knows; none when it won't say."""
    from throughline.client import ApiRefused, ApiUnreachable

    try:
        pipelines = client.pipelines()
        if not of_types:
            return {pipeline["name"] for pipeline in pipelines}
        newest: Iterable[dict[str, str]] = client.events(limit=_NEWEST)
        return {name for pipeline in pipelines for name in pipeline["types"]} | {event["type"] for event in newest}
    except (ApiRefused, ApiUnreachable):
        return set()
