"""A real Prometheus, as Debian's package has it, that scrapes what a test names."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from throughline.embedded import free_port
from throughline.supervision import ProcessService, http_ok
from throughline.supervision.service import wait_ready


class Prometheus:
    """What it knows, as its HTTP API tells."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an expression now; an error of the expression is an AssertionError."""
        found: list[dict[str, Any]] = self._ask("query", query=expr)["result"]
        return found

    def label_values(self, label: str, selector: str) -> list[str]:
        """The values of a label among the series of a selector."""
        found: list[str] = self._ask(f"label/{label}/values", **{"match[]": selector})
        return found

    def exemplars(self, expr: str) -> list[dict[str, Any]]:
        """The exemplars of the last ten minutes behind an expression."""
        now = time.time()
        series: list[dict[str, Any]] = self._ask("query_exemplars", query=expr, start=str(now - 600), end=str(now + 1))
        return [exemplar for one in series for exemplar in one["exemplars"]]

    def _ask(self, path: str, **parameters: str) -> Any:
        answer = self._client.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, (parameters, answer.text)
        return answer.json()["data"]

    def close(self) -> None:
        self._client.close()


@contextmanager
def prometheus(home: Path, jobs: Mapping[str, Sequence[str]], *, rules: Sequence[Path] = ()) -> Iterator[Prometheus]:
    """Run one over ``jobs``, addresses by the job's name, that scrapes each second; skip where there is no binary."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no prometheus binary on this machine; apt install prometheus")
    config = home / "prometheus.json"
    config.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(path) for path in rules],
                "scrape_configs": [
                    {"job_name": name, "static_configs": [{"targets": list(addresses)}]}
                    for name, addresses in jobs.items()
                ],
            }
        )
    )
    address = f"127.0.0.1:{free_port()}"
    service = ProcessService(
        "prometheus",
        [
            binary,
            f"--config.file={config}",
            f"--storage.tsdb.path={home / 'prometheus'}",
            f"--web.listen-address={address}",
            "--enable-feature=exemplar-storage",
        ],
        logs=home,
        env={"PATH": "/usr/bin:/bin"},
        cwd=home,
        ready=http_ok(f"http://{address}/-/ready"),
        ready_timeout=60.0,
    )
    client = Prometheus(f"http://{address}")
    try:
        service.launch()
        wait_ready(service)
        yield client
    finally:
        client.close()
        service.kill()
