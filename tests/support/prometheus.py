"""A real Prometheus with the shipped configuration and rules, at a pace that a test can wait for."""

import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from observability.alerts import Plan, render
from tests.support.system import ROOT, eventually
from throughline.embedded import free_port
from throughline.supervision import ProcessService, http_ok
from throughline.supervision.service import wait_ready

SHIPPED = ROOT / "observability" / "prometheus" / "prometheus.yml"


class Prometheus:
    """Asks a Prometheus over its HTTP API."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def query(self, expression: str) -> list[dict[str, str]]:
        """Return the labels of what an instant query finds."""
        found = self._get("/api/v1/query", query=expression)
        return [sample["metric"] for sample in found["result"]]

    def value(self, expression: str) -> float:
        """Return the one value of an instant query; 0 where there is none."""
        found = self._get("/api/v1/query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else 0.0

    def firing(self, alert: str, **labels: str) -> list[dict[str, Any]]:
        """Return the alerts of this name and these labels that fire now, as they would be sent."""
        wanted = {"alertname": alert, **labels}.items()
        return [
            one
            for one in self._get("/api/v1/alerts")["alerts"]
            if one["state"] == "firing" and wanted <= one["labels"].items()
        ]

    def fired(self) -> set[str]:
        """Return the names of all alerts that ever fired."""
        return {one["alertname"] for one in self.query('count_over_time(ALERTS{alertstate="firing"}[1h])')}

    def watched(self) -> set[str]:
        """Return the names of all alerts that there are."""
        groups = self._get("/api/v1/rules")["groups"]
        return {rule["name"] for group in groups for rule in group["rules"] if rule["type"] == "alerting"}

    def unhealthy(self) -> list[str]:
        """Return what went wrong with evaluating the rules."""
        groups = self._get("/api/v1/rules")["groups"]
        return [
            f"{rule['name']}: {rule['lastError']}"
            for group in groups
            for rule in group["rules"]
            if rule.get("lastError")
        ]

    def exemplars(self, series: str) -> list[dict[str, str]]:
        """Return the labels of the exemplars of the last minutes."""
        now = time.time()
        found = self._get("/api/v1/query_exemplars", query=series, start=str(now - 600), end=str(now + 1))
        return [exemplar["labels"] for one in found for exemplar in one["exemplars"]]

    def awaits(self, alert: str, *, timeout: float = 30.0, **labels: str) -> dict[str, Any]:
        """Wait until an alert fires; return it."""
        return eventually(lambda: self.firing(alert, **labels), timeout=timeout, what=f"{alert} fires")[0]

    def resolves(self, alert: str, *, timeout: float = 60.0, **labels: str) -> None:
        """Wait until an alert fires no more."""
        eventually(lambda: not self.firing(alert, **labels), timeout=timeout, what=f"{alert} resolves")

    def _get(self, path: str, **parameters: str) -> Any:
        answer = self._client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


@contextmanager
def prometheus(folder: Path, plan: Plan, *, targets: Mapping[str, Sequence[str]], every: str) -> Iterator[Prometheus]:
    """Run one that scrapes and evaluates ``every`` so often; ``targets`` are the jobs' addresses.

    It gets its rules when it has scraped them all, which it puts off for some seconds: minutes at the rules' pace.
    """
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus isn't installed (Debian: prometheus)")
    folder.mkdir()
    rules = folder / "rules.yml"
    rules.write_text("groups: []\n")
    (folder / "prometheus.yml").write_text(_configuration(targets, every=every))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    service = ProcessService(
        "prometheus",
        [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        ],
        logs=folder,
        ready=http_ok(f"{url}/-/ready"),
    )
    service.launch()
    try:
        wait_ready(service)
        made = Prometheus(url)
        wanted = sum(map(len, targets.values()))
        eventually(lambda: made.value("count(up == 1)") == wanted, what="a first scrape of every target")
        rules.write_text(render(plan))
        service.send(signal.SIGHUP)
        eventually(lambda: made.query("throughline:slo_budget:ratio"), what="a first evaluation of the rules")
        yield made
    finally:
        service.kill()


def _configuration(targets: Mapping[str, Sequence[str]], *, every: str) -> str:
    shipped: dict[str, Any] = yaml.safe_load(SHIPPED.read_text())
    shipped["global"] = {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}
    shipped["rule_files"] = ["rules.yml"]
    for job in shipped["scrape_configs"]:
        job["static_configs"] = [{"targets": list(targets.get(job["job_name"], ()))}]
    return yaml.safe_dump(shipped)
