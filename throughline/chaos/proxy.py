import asyncio
from enum import Enum, auto
from urllib.parse import urlsplit

from throughline.chaos.background import Background


class Path(Enum):
    """What happens on the way to a server."""

    OPEN = auto()
    REFUSED = auto()
    """Open connections are reset, new ones are reset at once."""
    BLACK_HOLE = auto()
    """Nothing goes through and nobody is told; what is open then stays deaf for ever, as a half-open connection."""


class TcpProxy:
    """Stands between one process and a server on loopback, and breaks on demand; its loop is the background's.

    ``swallowed`` counts the connections and the pieces of data that went nowhere.
    """

    def __init__(self, background: Background, port: int, *, path: Path = Path.OPEN) -> None:
        self._background = background
        self._upstream = port
        self._path = path
        self._open: dict[asyncio.StreamWriter, bool] = {}
        self._server: asyncio.Server | None = None
        self.swallowed = 0

    def start(self) -> None:
        """Listen on a free port."""
        self._server = self._background.call(self._listen())

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._server is None:
            raise RuntimeError("start() comes first")
        return int(self._server.sockets[0].getsockname()[1])

    def through(self, url: str) -> str:
        """Return ``url`` leading through here."""
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.port}").geturl()

    def switch(self, path: Path) -> None:
        """Change the way, also for what is open."""
        self._background.call(self._switch(path))

    def reset(self) -> None:
        """Reset what is open; new connections are let through as before."""
        self._background.call(self._reset())

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._handle, "127.0.0.1", 0)

    async def _switch(self, path: Path) -> None:
        self._path = path
        if path is Path.REFUSED:
            await self._reset()
        elif path is Path.BLACK_HOLE:
            self._open = dict.fromkeys(self._open, True)

    async def _reset(self) -> None:
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._path is Path.REFUSED:
            self.swallowed += 1
            writer.transport.abort()
            return
        self._open[writer] = self._path is Path.BLACK_HOLE
        try:
            await self._connect(reader, writer)
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open[writer]:
            self.swallowed += 1
            await _drop(reader)
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            return
        pumps = [
            asyncio.ensure_future(self._pump(reader, back, owner=writer)),
            asyncio.ensure_future(self._pump(there, writer, owner=writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            back.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, owner: asyncio.StreamWriter
    ) -> None:
        try:
            while chunk := await reader.read(65536):
                if self._open.get(owner, True):
                    self.swallowed += 1
                    continue
                writer.write(chunk)
                await writer.drain()
        except OSError:
            return


async def _drop(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(65536):
            pass
    except OSError:
        return
