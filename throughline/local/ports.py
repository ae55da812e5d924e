from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from settings import Settings
from throughline.embedded import port_is_free
from throughline.embedded.ports import port_taken
from throughline.errors import PortTaken

_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - nothing listens there; it is what a setting may say

CELL_PORTS = 2
"""Behind those of the workers: the cell's own, and its child's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """An address that a process of the stack is to listen on, and the setting that says so."""

    server: str
    host: str
    port: int
    setting: str


def require_free_ports(settings: Settings, *, workers: int) -> None:
    """See that every process can have its port, before any is started.

    Later it would end and be started again for ever, while whoever has the port answers for it and makes it look ready.

    Raises:
        PortTaken: one is taken, or can't be listened on; names the process, the port and the setting.

    """
    for listener in listeners(settings, workers=workers):
        if not port_is_free(listener.port, host=listener.host, setting=listener.setting):
            raise port_taken(listener.port, server=listener.server, setting=listener.setting)


def require_own_ports(wanted: Iterable[Listener]) -> None:
    """See that no two listeners are set to the same port of an address; port 0 is any free one.

    Raises:
        PortTaken: two are; names the port and both settings.

    """
    seen: list[Listener] = []
    for listener in wanted:
        other = next((one for one in seen if one.setting != listener.setting and _meet(one, listener)), None)
        if other is not None:
            both = f"{other.setting} ({other.server}) and {listener.setting} ({listener.server})"
            raise PortTaken(f"port {listener.port} is wanted twice, by {both}: set one of them to another port")
        seen.append(listener)


def _meet(one: Listener, other: Listener) -> bool:
    if one.port != other.port or not one.port:
        return False
    hosts = {"127.0.0.1" if host == "localhost" else host for host in (one.host, other.host)}
    return len(hosts) == 1 or not hosts.isdisjoint(_EVERYWHERE)


def listeners(settings: Settings, *, workers: int) -> Iterator[Listener]:
    """List what the processes listen on; metrics at port 0 are served nowhere."""
    api, relay, worker, flower = settings.api, settings.relay, settings.worker, settings.flower
    yield Listener(server="api", host=api.host, port=api.port, setting="THROUGHLINE_API_PORT")
    yield Listener(server="flower", host=flower.host, port=flower.port, setting="THROUGHLINE_FLOWER_PORT")
    if relay.metrics_port:
        setting = "THROUGHLINE_RELAY_METRICS_PORT"
        yield Listener(server="relay", host=relay.metrics_host, port=relay.metrics_port, setting=setting)
    if worker.metrics_port:
        setting = "THROUGHLINE_WORKER_METRICS_PORT"
        for number in range(workers * ports_per_worker(settings) + CELL_PORTS):
            port = worker.metrics_port + number
            yield Listener(server="worker", host=worker.metrics_host, port=port, setting=setting)


def metrics_of_workers(settings: Settings, *, workers: int) -> list[int]:
    """List the ports that answer with the workers' metrics; with prefork the children's, since they have them."""
    first, each = settings.worker.metrics_port, ports_per_worker(settings)
    skipped = 1 if settings.worker.pool == "prefork" else 0
    return [first + each * number + place for number in range(workers) for place in range(skipped, each)]


def cell_port(settings: Settings, *, workers: int) -> int:
    """Return the cell's port, which is behind the workers'; its child, that has the metrics, is on the next one."""
    return settings.worker.metrics_port + ports_per_worker(settings) * workers


def ports_per_worker(settings: Settings) -> int:
    """A prefork worker has a port for itself and one for each child."""
    return 1 + settings.worker.concurrency if settings.worker.pool == "prefork" else 1
