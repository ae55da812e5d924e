"""Counts what goes to PostgreSQL, by connection, at the level of its protocol."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

_PROTOCOL_3 = 196608


@dataclass(slots=True)
class Traffic:
    """What one application's connections sent. A round trip is whatever the client waits for before it goes on."""

    statements: int = 0
    round_trips: int = 0
    bytes: int = 0

    def __sub__(self, other: "Traffic") -> "Traffic":
        return Traffic(
            self.statements - other.statements, self.round_trips - other.round_trips, self.bytes - other.bytes
        )


class CountingProxy:
    """Stands between the program and PostgreSQL and reads along; ``application_name`` says whose a connection is."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._traffic: defaultdict[str, Traffic] = defaultdict(Traffic)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """The server's URL through the proxy."""
        assert self._server is not None
        credentials = self._parts.netloc.rpartition("@")[0]
        port = self._server.sockets[0].getsockname()[1]
        return self._parts._replace(netloc=f"{credentials}@127.0.0.1:{port}").geturl()

    def seen(self, application: str) -> Traffic:
        """What this application has sent so far."""
        return replace(self._traffic[application])

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", 0)

    async def close(self) -> None:
        """Reset every connection and stop."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._parts.hostname or "127.0.0.1", self._parts.port or 5432
        there_reader, there_writer = await asyncio.open_connection(host, port)
        self._writers |= {writer, there_writer}
        try:
            await asyncio.gather(_pump(there_reader, writer), self._read_along(reader, there_writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers -= {writer, there_writer}
            writer.transport.abort()
            there_writer.transport.abort()

    async def _read_along(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        traffic = await self._startup(reader, writer)
        while True:
            head = await reader.readexactly(5)
            body = await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
            writer.write(head + body)
            kind = head[:1]
            traffic.bytes += len(head) + len(body)
            traffic.statements += kind in b"EQ"
            traffic.round_trips += kind in b"SQ"

    async def _startup(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Traffic:
        """Pass on what comes before the first typed message, up to the startup message, which names the application."""
        while True:
            head = await reader.readexactly(8)
            body = await reader.readexactly(int.from_bytes(head[:4], "big") - 8)
            writer.write(head + body)
            if int.from_bytes(head[4:], "big") == _PROTOCOL_3:
                words = body.split(b"\0")
                names = dict(zip(words[::2], words[1::2], strict=False))
                return self._traffic[names.get(b"application_name", b"").decode()]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
    writer.transport.abort()


@asynccontextmanager
async def counting_proxy(url: str) -> AsyncIterator[CountingProxy]:
    """Run a proxy to the PostgreSQL of ``url``."""
    proxy = CountingProxy(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
