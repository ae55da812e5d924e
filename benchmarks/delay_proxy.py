"""Stands between clients and a server on loopback, as a process of its own, and delays every answer.

Arguments: the port to listen on, the server's port, the milliseconds that a round trip takes longer.
"""

import asyncio
import sys
from typing import cast


class Side(asyncio.Protocol):
    """One side of a connection; what it receives goes to the other side ``delay`` seconds later, in order."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._waiting: list[bytes] = []
        self.other: Side | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._forward, data)
        else:
            self._forward(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """See ``asyncio.Protocol``."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def join(self, other: "Side") -> None:
        """Connect to the other side, and hand over what came before."""
        self.other = other
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self._forward(data)

    def _forward(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None:
            self._waiting.append(data)
        else:
            self.other.transport.write(data)


class Front(Side):
    """The client's side: opens the way to the server."""

    def __init__(self, upstream: int, delay: float) -> None:
        super().__init__(0.0)
        self._upstream = upstream
        self._back = Side(delay)
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        super().connection_made(transport)
        self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self._back, "127.0.0.1", self._upstream)
        self._back.join(self)
        self.join(self._back)


async def _main(port: int, upstream: int, milliseconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Front(upstream, milliseconds / 1000), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
