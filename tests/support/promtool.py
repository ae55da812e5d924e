"""Alerts over made-up series, judged by promtool."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import pytest
import yaml

from observability.alerts import FILES, Objective, Plan, Severity, render
from observability.metrics import Sli

PLAN = Plan(
    objectives=(
        Objective(sli=Sli.INGEST, share=0.999, within=0.5),
        Objective(sli=Sli.QUEUEING, share=0.99, within=30.0, pipeline="shop", queue="default"),
        Objective(sli=Sli.QUEUEING, share=0.99, within=300.0, pipeline="stock", queue="default"),
        Objective(sli=Sli.EXECUTION, share=0.99, pipeline="shop", queue="default"),
    ),
    queues=("default", "slow.one", "cell"),
)
"""What the rules under test are made for."""


class Kind(Enum):
    """What a case shows of its alert."""

    FIRES = auto()
    QUIET = auto()
    BOUNDARY = auto()


@dataclass(frozen=True, kw_only=True)
class Case:
    """Series, in promtool's notation, and at which times the alert fires then: with these labels, or not (``[]``)."""

    alert: str
    kind: Kind
    severity: Severity
    series: Mapping[str, str]
    expect: Mapping[str, Sequence[Mapping[str, str]]]
    interval: str = "1m"


def promtool(*arguments: str) -> str:
    """Run promtool, which must be content; return what it said."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool isn't installed (Debian: prometheus)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def judge(cases: Sequence[Case], folder: Path) -> None:
    """Let promtool hold the rules against ``cases``, which share an interval."""
    (folder / "rules.yml").write_text(render(PLAN, files=FILES))
    tests = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": cases[0].interval,
        "tests": [_test_of(case) for case in cases],
    }
    (folder / "tests.yml").write_text(yaml.safe_dump(tests, sort_keys=False))
    promtool("test", "rules", str(folder / "tests.yml"))


def _test_of(case: Case) -> dict[str, object]:
    return {
        "interval": case.interval,
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "promql_expr_test": [
            {
                "expr": f'ALERTS{{alertname="{case.alert}",alertstate="firing"}}',
                "eval_time": at,
                "exp_samples": [{"labels": _labels(case, labels), "value": 1} for labels in firing],
            }
            for at, firing in case.expect.items()
        ],
    }


def _labels(case: Case, own: Mapping[str, str]) -> str:
    labels = {"alertname": case.alert, "alertstate": "firing", "severity": case.severity.value, **own}
    return "ALERTS{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
