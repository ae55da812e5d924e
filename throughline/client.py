"""A small client of the HTTP API, as the command line and the demo need it."""

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from events import Permanent, Transient

_BULK_SECONDS: Final = 120.0

FINAL = frozenset({"succeeded", "failed", "cancelled", "unrouted"})


class ApiRefused(Permanent):
    """The API refused the request."""


class ApiUnreachable(Transient):
    """The API can't be reached."""


class Client:
    """Talks to the API at ``url``; every method raises ``ApiRefused`` or ``ApiUnreachable``, each saying why."""

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=timeout, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def send(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """POST an event; return the answer: ``event_id``, ``trace_id``, ``status``, ``runs``."""
        return self._call("POST", "/events", json=dict(event))

    def event(self, event_id: str) -> dict[str, Any]:
        """GET the whole story of an event."""
        return self._call("GET", f"/events/{event_id}")

    def events(self, *, limit: int, **filters: str | None) -> Iterator[dict[str, Any]]:
        """GET up to ``limit`` events, newest first, over as many pages as that takes."""
        return self._pages("/events", limit=limit, filters=filters)

    def run(self, run_id: str) -> dict[str, Any]:
        """GET the whole story of a run."""
        return self._call("GET", f"/runs/{quote(run_id, safe='')}")

    def runs(self, *, limit: int, **filters: str | None) -> Iterator[dict[str, Any]]:
        """GET up to ``limit`` runs, newest first, over as many pages as that takes."""
        return self._pages("/runs", limit=limit, filters=filters)

    def cancel(self, run_id: str, *, reason: str | None = None) -> dict[str, Any]:
        """Cancel a run; ``status`` in the answer is ``cancelled``, or ``running`` where its worker was asked to."""
        return self._call("POST", f"/runs/{quote(run_id, safe='')}/cancel", json={"reason": reason})

    def replay_run(self, run_id: str, *, node: str | None = None) -> dict[str, Any]:
        """Replay a run, from ``node`` on where one is given; return the run that was made."""
        return self._call("POST", f"/runs/{quote(run_id, safe='')}/replay", json={"from": node})

    def replay_event(self, event_id: str) -> dict[str, Any]:
        """Replay an event; return the ``runs`` that were made."""
        return self._call("POST", f"/events/{quote(event_id, safe='')}/replay")

    def replay_dead(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Replay dead runs, or with ``dry_run`` say which; ``wanted`` is the body of ``POST /runs/replay``."""
        return self._call("POST", "/runs/replay", json=dict(wanted), timeout=_BULK_SECONDS)

    def _pages(self, path: str, *, limit: int, filters: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while limit > 0:
            wanted = {**filters, "limit": str(min(limit, 100)), "cursor": cursor}
            page = self._call("GET", path, params={key: value for key, value in wanted.items() if value})
            yield from page["items"]
            limit -= len(page["items"])
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def wait(self, event_id: str, *, timeout: float) -> dict[str, Any]:
        """GET an event until it has ended or ``timeout`` seconds are over; return it as it is then."""
        deadline = time.monotonic() + timeout
        while True:
            event = self.event(event_id)
            if event["status"] in FINAL or time.monotonic() > deadline:
                return event
            time.sleep(0.05)

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise ApiUnreachable(f"the API at {self.url} can't be reached: {error}") from error
        if response.is_error:
            raise ApiRefused(_problem(response))
        answer: dict[str, Any] = response.json()
        return answer


def _problem(response: httpx.Response) -> str:
    """Return a problem+json answer in one line."""
    try:
        problem = response.json()
    except ValueError:
        return f"HTTP {response.status_code}"
    fields = "; ".join(f"{error.get('field')}: {error.get('message')}" for error in problem.get("errors") or ())
    said = problem.get("detail") or problem.get("title") or ""
    return f"HTTP {response.status_code}: {said}" + (f" ({fields})" if fields else "")
