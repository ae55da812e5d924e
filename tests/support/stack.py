"""Services of a compose model as containers, each as the model has it, started in the order that it asks for."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import docker
from docker.errors import DockerException, NotFound
from docker.models.containers import Container
from docker.types import EndpointConfig, LogConfig

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a container was stopped: its exit code, and the seconds that it took."""

    code: int
    seconds: float


@dataclass(kw_only=True)
class Stack:
    """Containers of one network of their own; ``gateway`` is this machine's address in it."""

    client: Any
    network: Any
    services: Mapping[str, Any]
    hosts: Mapping[str, str]
    containers: dict[str, Container] = field(default_factory=dict)

    def up(self, names: Iterable[str]) -> None:
        """Start services in their order, each when what it depends on is as it asks, and wait until all are well."""
        for name in names:
            for needed, how in self.services[name].get("depends_on", {}).items():
                if needed in self.containers:
                    self.wait(needed, ended=how["condition"] == "service_completed_successfully")
            self.start(name)
        for name in names:
            if self.services[name].get("healthcheck"):
                self.wait(name)

    def start(self, name: str) -> Container:
        """Start one service."""
        service = self.services[name]
        alias = EndpointConfig(self.client.api._version, aliases=[name])
        container = self.client.containers.create(
            service["image"],
            service.get("command"),
            name=f"{self.network.name}-{name}",
            network=self.network.name,
            networking_config={self.network.name: alias},
            extra_hosts=dict(self.hosts),
            **_options(service),
        )
        self.containers[name] = container
        container.start()
        return container

    def wait(self, name: str, *, ended: bool = False, timeout: float = 90.0) -> None:
        """Wait until a service is healthy, or has ended well."""
        deadline = time.monotonic() + timeout
        while True:
            state = self.state(name)
            if ended and state["Status"] == "exited":
                assert state["ExitCode"] == 0, self.said(name)
                return
            if not ended and state.get("Health", {}).get("Status") == "healthy":
                return
            assert ended or state["Status"] == "running", f"{name} ended: {self.said(name)}"
            assert time.monotonic() < deadline, f"{name} is {state}: {self.said(name)}"
            time.sleep(0.1)

    def state(self, name: str) -> dict[str, Any]:
        """How the engine says that a service is."""
        container = self.containers[name]
        container.reload()
        state: dict[str, Any] = container.attrs["State"]
        return state

    def said(self, name: str) -> str:
        """The end of what a service wrote."""
        return str(self.containers[name].logs(tail=30).decode(errors="replace"))

    def run(self, name: str, *command: str) -> str:
        """Run a command in a service's container, which must end with 0; return what it wrote."""
        code, output = self.containers[name].exec_run(list(command))
        text = str(output.decode(errors="replace"))
        assert code == 0, text
        return text

    def stop(self, name: str) -> Ended:
        """Stop a service as compose does, with the grace that it is given."""
        began = time.monotonic()
        self.containers[name].stop(timeout=round(seconds(self.services[name]["stop_grace_period"])))
        took = time.monotonic() - began
        return Ended(code=self.state(name)["ExitCode"], seconds=took)


@contextmanager
def stack(services: Mapping[str, Any], *, hosts: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """Make the network of a stack; at the end all of it is removed. ``hosts``: names that are this machine."""
    client = docker.from_env()
    network = client.networks.create(f"throughline-test-{uuid4().hex[:8]}", driver="bridge")
    made = Stack(client=client, network=network, services=services, hosts={})
    try:
        network.reload()
        gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
        made.hosts = dict.fromkeys(hosts or (), gateway)
        yield made
    finally:
        for container in reversed(made.containers.values()):
            with suppress(NotFound):
                container.remove(force=True, v=True)
        network.remove()
        client.close()


def engine_answers() -> bool:
    """Say whether there is a Docker engine."""
    try:
        client = docker.from_env()
    except DockerException:
        return False
    client.close()
    return True


def seconds(duration: str) -> float:
    """Read a duration as compose writes it: ``1m30s``."""
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|h|m|s)", duration))


def _options(service: Mapping[str, Any]) -> dict[str, Any]:
    """What docker-py calls the fields of a service that has them."""
    same = (
        "entrypoint",
        "environment",
        "user",
        "read_only",
        "cap_drop",
        "security_opt",
        "mem_limit",
        "pids_limit",
        "shm_size",
    )
    options = {name: service[name] for name in same if service.get(name) is not None}
    for name in ("mem_limit", "shm_size"):
        if name in options:
            options[name] = int(options[name])
    options["tmpfs"] = dict(one.partition(":")[::2] for one in service.get("tmpfs", []))
    options["ports"] = {
        f"{port['target']}/tcp": (port["host_ip"], int(port["published"])) for port in service.get("ports", [])
    }
    if logging := service.get("logging"):
        options["log_config"] = LogConfig(type=logging["driver"], config=logging["options"])
    if check := service.get("healthcheck"):
        times = {name: int(seconds(check[name]) * 1e9) for name in ("timeout", "start_period")}
        # Often, so that a test need not wait for the next time.
        options["healthcheck"] = {"test": check["test"], "retries": check["retries"], "interval": 500_000_000, **times}
    return options
