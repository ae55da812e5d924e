import time
from typing import Final

from observability.logs import get_logger
from observability.metrics import AccountState, Metrics
from storage import accounting
from worker.relay.database import Database

_SECONDS: Final = 5.0
_SHARE: Final = 20.0
_FOLD: Final = 10_000

_log = get_logger(__name__)


class Accounting:
    """Keeps the account of runs short, and shows whether it comes out even."""

    def __init__(self, *, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._gauge = metrics.accounting_runs
        self._difference = 0

    async def run_once(self) -> float:
        """Fold and read the account; return in how many seconds to do it again, a twentieth of the time at most.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.

        """
        began = time.monotonic()
        async with self._database.transaction() as connection:
            folded = await accounting.fold_deltas(connection, most=_FOLD)
        async with self._database.reading() as connection:
            balance = await accounting.balance(connection)
        self._show(balance)
        took = time.monotonic() - began
        return 0.0 if folded == _FOLD else max(_SECONDS, took * _SHARE)

    def _show(self, balance: accounting.Balance) -> None:
        self._gauge.labels(state=AccountState.ACCEPTED).set(balance.accepted)
        self._gauge.labels(state=AccountState.FINAL).set(balance.final)
        self._gauge.labels(state=AccountState.OPEN).set(balance.open)
        self._gauge.labels(state=AccountState.REMOVED).set(balance.removed)
        self._gauge.labels(state=AccountState.DIFFERENCE).set(balance.difference)
        if balance.difference not in {0, self._difference}:
            _log.error(
                "the account of runs does not come out even; `throughline audit` tells more",
                difference=balance.difference,
            )
        self._difference = balance.difference
