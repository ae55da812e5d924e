import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto
from urllib.parse import urlsplit


class Mode(Enum):
    """What a proxy does with connections."""

    PASS = auto()
    REFUSE = auto()
    """Open connections are reset, new ones closed at once."""
    SWALLOW = auto()
    """Connections stay open and nothing goes through, as with a stopped server."""
    LOSE_COMMIT_ANSWER = auto()
    """A COMMIT goes through; its answer doesn't, and the connection is reset."""
    LOSE_PUSH_ANSWER = auto()
    """The same with an LPUSH."""
    LOSE_ANSWER = auto()
    """The same with whatever holds the bytes that ``lose_answer_to`` was given."""


class TcpProxy:
    """Stands between the program and a server, and misbehaves on demand."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 5432
        self._parts = parts
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.mode = Mode.PASS
        self.commits = 0
        self._needle = b""

    @property
    def url(self) -> str:
        """The server's URL through the proxy."""
        assert self._server is not None
        credentials = self._parts.netloc.rpartition("@")[0]
        port = self._server.sockets[0].getsockname()[1]
        return self._parts._replace(netloc=f"{credentials}@127.0.0.1:{port}").geturl()

    def switch(self, mode: Mode) -> None:
        """Change what happens to connections, also to those that are open."""
        self.mode = mode
        if mode is Mode.REFUSE:
            for writer in tuple(self._writers):
                writer.transport.abort()

    def lose_answer_to(self, needle: bytes) -> None:
        """Let what holds ``needle`` through, lose its answer, and refuse from then on."""
        self._needle = needle
        self.mode = Mode.LOSE_ANSWER

    def turn_to(self, url: str) -> None:
        """Lead new connections to another server, as a failover does; open ones are reset."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 5432
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", 0)

    async def close(self) -> None:
        """Reset every connection and stop."""
        assert self._server is not None
        self._server.close()
        self.switch(Mode.REFUSE)
        await self._server.wait_closed()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode is Mode.REFUSE:
            writer.transport.abort()
            return
        try:
            there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there_writer}
        try:
            await asyncio.gather(
                self._pump(reader, there_writer, outward=True), self._pump(there_reader, writer, outward=False)
            )
        finally:
            self._writers -= {writer, there_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, outward: bool) -> None:
        try:
            while chunk := await reader.read(65536):
                if self.mode is Mode.SWALLOW:
                    continue
                commits = outward and b"COMMIT" in chunk
                self.commits += commits
                writer.write(chunk)
                await writer.drain()
                if outward and self._is_to_be_lost(chunk):
                    await self._lose_answer()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    def _is_to_be_lost(self, chunk: bytes) -> bool:
        needles = {
            Mode.LOSE_COMMIT_ANSWER: b"COMMIT",
            Mode.LOSE_PUSH_ANSWER: b"LPUSH",
            Mode.LOSE_ANSWER: self._needle,
        }
        return self.mode in needles and needles[self.mode] in chunk

    async def _lose_answer(self) -> None:
        """Let the server read what was sent, and nobody its answer."""
        self.mode = Mode.SWALLOW
        await asyncio.sleep(0.2)
        self.switch(Mode.REFUSE)


@asynccontextmanager
async def tcp_proxy(url: str) -> AsyncIterator[TcpProxy]:
    """Run a proxy to the server of ``url``."""
    proxy = TcpProxy(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
