import asyncio
import itertools
import random
import time
from typing import Final

import httpx

from throughline.chaos.background import Background
from throughline.chaos.flows import REPLY
from throughline.chaos.ledger import NORMAL, Answer, Ledger, Sent

_TIMEOUT: Final = 10.0
_MOST_OPEN: Final = 400
_TICK: Final = 0.05
_TRIES: Final = 20
_TRIES_OF_REPLY: Final = 200
_MIX: Final = {
    "chaos.steady": 78,
    "chaos.flaky": 8,
    "chaos.computing": 4,
    "chaos.spread": 4,
    "chaos.waiting": 4,
    "chaos.limited": 2,
}
_LONG: Final = 0.08
"""The share of steady events whose runs take seconds."""
_STORED: Final = frozenset({200, 202})


class Load:
    """Sends events at a steady rate whatever the answers, and writes every answer into the ledger.

    Half of the clients send an event again under the same id when it wasn't answered by 202, the others give up.
    """

    def __init__(self, background: Background, url: str, *, ledger: Ledger, effects: str, seed: int) -> None:
        self.rate = 0.0
        self.phase = NORMAL
        self.away = False
        self.ledger = ledger
        self._background = background
        self._url = url
        self._effects = effects
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._delay = 0.0
        self._http: httpx.AsyncClient | None = None
        self._ticker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin sending at ``rate``, which may change at any time."""
        self._background.call(self._start())

    def stop(self) -> None:
        """Send nothing new; wait until every request has its answer."""
        self.rate = 0.0
        self._background.call(self._drain(), timeout=_TIMEOUT * 6)

    def burst(self, count: int, *, type_: str = "chaos.steady", **data: object) -> list[Sent]:
        """Send events side by side, beside the steady ones; return without waiting for their answers."""
        sent = [self._new(type_, data, steady=False) for _ in range(count)]
        for one in sent:
            self._background.loop.call_soon_threadsafe(self._spawn, one)
        return sent

    async def _start(self) -> None:
        limits = httpx.Limits(max_connections=_MOST_OPEN, max_keepalive_connections=32)
        self._http = httpx.AsyncClient(base_url=self._url, timeout=_TIMEOUT, limits=limits, trust_env=False)
        self._ticker = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        due, last = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            self._delay += max(0.0, now - last - 2 * _TICK)
            due = min(due + (now - last) * self.rate, float(_MOST_OPEN))
            last = now
            while due >= 1.0:
                due -= 1.0
                if len(self._tasks) < _MOST_OPEN:
                    self._spawn(self._any())

    def _any(self) -> Sent:
        """Draw one of the mix: mostly at work for a moment, some long, some failing, some put off, some computing."""
        (kind,) = self._random.choices(list(_MIX), list(_MIX.values()))
        wait = self._random.random()
        match kind:
            case "chaos.steady" if self._random.random() < _LONG:
                data: dict[str, object] = {"wait": round(1.0 + wait * 3.0, 3)}
            case "chaos.flaky":
                data = {"fail_attempts": self._random.choice((0, 1, 2))}
            case "chaos.spread":
                data = {"wait": 0.2, "fail_attempts": self._random.choice((0, 1))}
            case "chaos.waiting":
                data = {"wait": round(0.2 + wait * 3.0, 3)}
            case "chaos.limited":
                data = {"wait": round(wait * 0.3, 3), "lane": self._random.choice("abcd")}
            case "chaos.computing":
                data = {"burn": 0.005}
            case _:
                data = {"wait": round(wait * 0.3, 3)}
        return self._new(kind, data)

    def _new(self, type_: str, data: dict[str, object], *, steady: bool = True) -> Sent:
        ce_id = f"{next(self._numbers)}"
        data = {"ledger": self._effects, "case": ce_id, **data}
        sent = Sent(ce_id=ce_id, type=type_, data=data, phase=self.phase, steady=steady)
        self.ledger.begin(sent)
        return sent

    def _spawn(self, sent: Sent) -> None:
        tries = _TRIES if self._random.random() < 0.5 else 1  # noqa: PLR2004
        task = self._background.loop.create_task(self._send(sent, tries=tries))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, sent: Sent, *, tries: int) -> None:
        for _ in range(tries):
            await self._post(sent)
            if sent.accepted:
                break
            await asyncio.sleep(0.5 + self._random.random())
        if sent.type == "chaos.waiting":
            # Whatever was answered, the run may be there. Some replies come before it waits, most while it does.
            await asyncio.sleep(self._random.random() * 5.0)
            await self._send(self._new(REPLY, {"case": sent.data["case"]}, steady=False), tries=_TRIES_OF_REPLY)

    async def _post(self, sent: Sent) -> None:
        if self._http is None:
            raise RuntimeError("start() comes first")
        body = {"type": sent.type, "source": "chaos", "id": sent.ce_id, "data": sent.data}
        phase, away, began, delayed = self.phase, self.away, time.monotonic(), self._delay
        said, why, event_id = "", "", None
        try:
            response = await self._http.post("/events", json=body)
            said = str(response.status_code)
            event_id = response.json()["event_id"] if response.status_code in _STORED else None
        except (httpx.ConnectError, httpx.ConnectTimeout):
            said = "refused"
        except httpx.TimeoutException:
            said = "timeout"
        except httpx.HTTPError as error:
            said, why = "broken", f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - whatever it is, the verdict must hear of it
            said, why = f"{said} {type(error).__name__}".strip(), str(error)
        answer = Answer(
            phase=phase,
            said=said,
            seconds=time.monotonic() - began,
            at=time.time(),
            why=why,
            steady=sent.steady,
            away=away,
            delay=self._delay - delayed,
        )
        self.ledger.answered(sent, answer, event_id=event_id)

    async def _drain(self) -> None:
        if self._ticker:
            self._ticker.cancel()
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))
        if self._http:
            await self._http.aclose()
