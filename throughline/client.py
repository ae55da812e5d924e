"""A small client of the HTTP API, as the command line and the demo need it."""

import json
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from events import Permanent, Transient

FINAL = frozenset({"succeeded", "failed", "cancelled", "unrouted"})


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
        cursor: str | None = None
        while limit > 0:
            wanted = {**filters, "limit": str(min(limit, 100)), "cursor": cursor}
            params = {key: value for key, value in wanted.items() if value}
            page = self._call("GET", "/events", "items", params=params)
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
