"""A small client of the HTTP API, as the command line and the demo need it."""

import json
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from events import Permanent, Transient

_BULK_SECONDS: Final = 120.0

FINAL = frozenset({"succeeded", "failed", "cancelled", "unrouted", "awaited"})


class ApiRefused(Permanent):
    """The API refused the request."""


class ApiUnreachable(Transient):
    """The API can't be reached."""


class Client:
    """Talks to the API at ``url``; every method raises ``ApiRefused`` or ``ApiUnreachable``, each saying why."""

    def __init__(self, url: str, *, timeout: float = 10.0, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        try:
            self._http = httpx.Client(base_url=self.url, timeout=timeout, trust_env=False, transport=transport)
        except httpx.InvalidURL as error:
            raise ApiUnreachable(f"the API can't be at {self.url}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def send(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """POST an event; return the answer: ``event_id``, ``trace_id``, ``status``, ``runs``.

        What strict JSON can't say (NaN, a lone surrogate) is sent as it is: the API judges it, and says why.
        """
        body = json.dumps(dict(event))
        return self._call("POST", "/events", "event_id", content=body, headers={"content-type": "application/json"})

    def event(self, event_id: str) -> dict[str, Any]:
        """GET the whole story of an event."""
        return self._call("GET", f"/events/{event_id}", "event_id")

    def events(self, *, limit: int, **filters: str | None) -> Iterator[dict[str, Any]]:
        """GET up to ``limit`` events, newest first, over as many pages as that takes."""
        return self._pages("/events", limit=limit, filters=filters)

    def run(self, run_id: str) -> dict[str, Any]:
        """GET the whole story of a run."""
        return self._call("GET", f"/runs/{quote(run_id, safe='')}", "run_id")

    def runs(self, *, limit: int, **filters: str | None) -> Iterator[dict[str, Any]]:
        """GET up to ``limit`` runs, newest first, over as many pages as that takes."""
        return self._pages("/runs", limit=limit, filters=filters)

    def cancel(self, run_id: str, *, reason: str | None = None) -> dict[str, Any]:
        """Cancel a run; ``status`` in the answer is ``cancelled``, or ``running`` where its worker was asked to."""
        return self._call("POST", f"/runs/{quote(run_id, safe='')}/cancel", "status", json={"reason": reason})

    def replay_run(self, run_id: str, *, node: str | None = None) -> dict[str, Any]:
        """Replay a run, from ``node`` on where one is given; return the run that was made."""
        return self._call("POST", f"/runs/{quote(run_id, safe='')}/replay", "run_id", json={"from": node})

    def replay_event(self, event_id: str) -> dict[str, Any]:
        """Replay an event; return the ``runs`` that were made."""
        return self._call("POST", f"/events/{quote(event_id, safe='')}/replay", "runs")

    def replay_dead(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Replay dead runs, or with ``dry_run`` say which; ``wanted`` is the body of ``POST /runs/replay``."""
        return self._call("POST", "/runs/replay", "matching", json=dict(wanted), timeout=_BULK_SECONDS)

    def purge_dead(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Remove dead runs, or with ``dry_run`` say which; ``wanted`` is the body of ``POST /runs/purge``."""
        return self._call("POST", "/runs/purge", "matching", json=dict(wanted), timeout=_BULK_SECONDS)

    def pipelines(self) -> list[dict[str, Any]]:
        """GET what this release runs, and for which types."""
        found: list[dict[str, Any]] = self._call("GET", "/pipelines", "items")["items"]
        return found

    def _pages(self, path: str, *, limit: int, filters: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while limit > 0:
            wanted = {**filters, "limit": str(min(limit, 100)), "cursor": cursor}
            params = {key: value for key, value in wanted.items() if value}
            page = self._call("GET", path, "items", params=params)
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

    def _call(self, method: str, path: str, wanted: str, **arguments: Any) -> dict[str, Any]:
        """Return the answer, a JSON object that has the member ``wanted``."""
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise ApiUnreachable(f"the API at {self.url} can't be reached: {error}") from error
        if response.is_error:
            raise ApiRefused(_problem(response))
        answer = _object(response)
        if wanted not in answer:
            raise ApiRefused(f"what answers at {self.url} is not Throughline's API")
        return answer


def _object(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object that was answered; empty if it is none."""
    try:
        answer = response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _problem(response: httpx.Response) -> str:
    """Return a problem+json answer in one line: its fields, else its detail."""
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return f"HTTP {response.status_code}, and not from Throughline's API"
    problem = _object(response)
    fields = "; ".join(f"{error.get('field')}: {error.get('message')}" for error in problem.get("errors") or ())
    return f"HTTP {response.status_code}: {fields or problem.get('detail') or problem.get('title') or ''}"
