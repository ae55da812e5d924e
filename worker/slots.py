import asyncio
from collections.abc import Callable


class Slots:
    """How many runs a process has under way at once. Who asked first is served first."""

    def __init__(self, total: int, *, on_change: Callable[[int], None] = lambda _used: None) -> None:
        self._total = total
        self._free = total
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()
        self._on_change = on_change

    @property
    def used(self) -> int:
        """How many are taken."""
        return self._total - self._free

    async def take(self, most: int) -> int:
        """Wait for a free slot, then take as many as there are, up to ``most``; return how many."""
        async with self._turn:
            while self._free <= 0:
                self._freed.clear()
                await self._freed.wait()
            taken = min(most, self._free)
            self._move(-taken)
            return taken

    def give_back(self, count: int) -> None:
        """Return slots."""
        self._move(count)

    def _move(self, count: int) -> None:
        self._free += count
        self._on_change(self.used)
        self._freed.set()
