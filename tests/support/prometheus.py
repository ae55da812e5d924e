"""A real Prometheus, as Debian's package has it, with the shipped configuration at a pace that a test can wait for."""

import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.system import ROOT, eventually
from throughline.embedded import free_port
from throughline.supervision import ProcessService, http_ok
from throughline.supervision.service import wait_ready

SHIPPED = ROOT / "observability" / "prometheus" / "prometheus.yml"


class Prometheus:
    """Asks a Prometheus over its HTTP API; an error of an expression is an AssertionError."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def series(self, expr: str, *, ahead: float = 0.0) -> list[dict[str, Any]]:
        """The series of an expression, with their values, ``ahead`` seconds from now."""
        found: list[dict[str, Any]] = self._get("query", query=expr, time=str(time.time() + ahead))["result"]
        return found

    def labels(self, expr: str) -> list[dict[str, str]]:
        """The labels of an expression's series."""
        return [one["metric"] for one in self.series(expr)]

    def value(self, expr: str) -> float:
        """The one value of an expression; 0 where there is none."""
        found = self.series(expr)
        return float(found[0]["value"][1]) if found else 0.0

    def label_values(self, label: str, selector: str) -> list[str]:
        """The values of a label among the series of a selector."""
        found: list[str] = self._get(f"label/{label}/values", **{"match[]": selector})
        return found

    def exemplars(self, expr: str) -> list[dict[str, str]]:
        """The labels of the exemplars of the last ten minutes behind an expression, the newest last."""
        now = time.time()
        series: list[dict[str, Any]] = self._get("query_exemplars", query=expr, start=str(now - 600), end=str(now + 1))
        found = [exemplar for one in series for exemplar in one["exemplars"]]
        return [exemplar["labels"] for exemplar in sorted(found, key=lambda exemplar: float(exemplar["timestamp"]))]

    def firing(self, alert: str, **labels: str) -> list[dict[str, Any]]:
        """The alerts of this name and these labels that fire now, as they would be sent."""
        wanted = {"alertname": alert, **labels}.items()
        return [
            one for one in self._get("alerts")["alerts"] if one["state"] == "firing" and wanted <= one["labels"].items()
        ]

    def fired(self) -> set[str]:
        """The names of all alerts that ever fired."""
        return {one["alertname"] for one in self.labels('count_over_time(ALERTS{alertstate="firing"}[1h])')}

    def times_fired(self, alert: str) -> int:
        """How often an alert began to fire in the last ten minutes, whatever its labels."""
        found = self._range(f'max(ALERTS{{alertname="{alert}",alertstate="firing"}})', seconds=600.0, step=0.5)
        moments = [moment for moment, _ in found]
        return sum(later - earlier > 1.0 for earlier, later in pairwise([0.0, *moments]))

    def unhealthy(self) -> list[str]:
        """What went wrong with evaluating the rules."""
        rules = [rule for group in self._get("rules")["groups"] for rule in group["rules"]]
        return [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule.get("lastError")]

    def awaits(self, alert: str, *, timeout: float = 90.0, **labels: str) -> dict[str, Any]:
        """Wait until an alert fires; return it."""
        return eventually(lambda: self.firing(alert, **labels), timeout=timeout, what=f"{alert} fires")[0]

    def resolves(self, alert: str, *, timeout: float = 90.0, **labels: str) -> None:
        """Wait until an alert fires no more."""
        eventually(lambda: not self.firing(alert, **labels), timeout=timeout, what=f"{alert} resolves")

    def _range(self, expr: str, *, seconds: float, step: float) -> list[tuple[float, str]]:
        now = time.time()
        parameters = {"start": str(now - seconds), "end": str(now), "step": str(step)}
        result = self._get("query_range", query=expr, **parameters)["result"]
        return result[0]["values"] if result else []

    def _get(self, path: str, **parameters: str) -> Any:
        answer = self._client.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, (parameters, answer.text)
        return answer.json()["data"]


@contextmanager
def prometheus(
    folder: Path, *, targets: Mapping[str, Sequence[str]], rules: Mapping[str, str], every: str = "1s"
) -> Iterator[Prometheus]:
    """Run one that scrapes and evaluates ``every`` so often; skip where there is no binary.

    ``targets`` are the addresses of the shipped configuration's jobs, ``rules`` the texts of rule files by name. It
    gets those when it has scraped all targets, which it puts off for some seconds: minutes at the pace of scaled rules.
    """
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus isn't installed (Debian: prometheus)")
    (folder / "rules").mkdir(parents=True)
    (folder / "prometheus.yml").write_text(_configuration(targets, every=every))
    address = f"127.0.0.1:{free_port()}"
    service = ProcessService(
        "prometheus",
        [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        ],
        logs=folder,
        env={"PATH": "/usr/bin:/bin"},
        cwd=folder,
        ready=http_ok(f"http://{address}/-/ready"),
        ready_timeout=60.0,
    )
    with httpx.Client(base_url=f"http://{address}", timeout=10, trust_env=False) as client:
        service.launch()
        try:
            wait_ready(service)
            made = Prometheus(client)
            wanted = sum(map(len, targets.values()))
            eventually(lambda: made.value("count(up == 1)") == wanted, what="a first scrape of every target")
            for name, text in rules.items():
                (folder / "rules" / name).write_text(text)
            service.send(signal.SIGHUP)
            eventually(lambda: made.series("throughline:slo_budget:ratio"), what="a first evaluation of the rules")
            yield made
        finally:
            service.kill()


def _configuration(targets: Mapping[str, Sequence[str]], *, every: str) -> str:
    shipped: dict[str, Any] = yaml.safe_load(SHIPPED.read_text())
    shipped["global"] = {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}
    shipped["rule_files"] = ["rules/*.yml"]
    for job in shipped["scrape_configs"]:
        job["static_configs"] = [{"targets": list(targets.get(job["job_name"], ()))}]
    return yaml.safe_dump(shipped)
