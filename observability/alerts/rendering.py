import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import yaml

from observability.alerts import api, queues, relay, runs, slo, stores, telemetry
from observability.alerts.plan import Plan
from observability.alerts.rule import Rule
from observability.metrics import catalogue

_METRIC: Final = re.compile(r"(?<![\w:])(?:throughline|http_server)_[a-z0-9_]+(?![\w:])")
_OF_HISTOGRAM: Final = re.compile(r"_(?:bucket|count|sum)$")
_WIDTH: Final = 110

Builder: TypeAlias = Callable[[Plan], tuple[Rule, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFile:
    """A file of one group, whose rules are evaluated in their order: what is recorded stands before who reads it.

    One that is ``optional`` stays away while the catalogue lacks a metric.
    """

    name: str
    builders: tuple[Builder, ...]
    optional: bool = False

    def rules(self, plan: Plan) -> Iterator[Rule]:
        """Yield every rule."""
        for build in self.builders:
            yield from build(plan)

    def is_on(self, plan: Plan) -> bool:
        """Say whether the file belongs to the rules that are rendered."""
        return not self.optional or metrics_named(self.rules(plan)) <= {metric.name for metric in catalogue}

    def document(self, plan: Plan) -> dict[str, object]:
        """Return the group as it stands in a rule file."""
        return {"name": f"throughline-{self.name}", "rules": [rule.document(plan.links) for rule in self.rules(plan)]}


FILES: Final = (
    RuleFile(name="slo", builders=(slo.recordings, slo.alerts)),
    RuleFile(name="queues", builders=(queues.recordings, queues.alerts)),
    RuleFile(name="runs", builders=(runs.alerts,)),
    RuleFile(name="relay", builders=(relay.alerts,)),
    RuleFile(name="api", builders=(api.alerts,)),
    RuleFile(name="telemetry", builders=(telemetry.alerts,)),
    RuleFile(name="stores", builders=(stores.alerts,), optional=True),
)


def metrics_named(rules: Iterable[Rule]) -> set[str]:
    """Return which of our metrics rules read, by their names in the catalogue; what rules record is not among them."""
    named = {name for rule in rules for name in _METRIC.findall(rule.expr)}
    histograms = {metric.name for metric in catalogue if metric.kind == "histogram"}
    return {base if (base := _OF_HISTOGRAM.sub("", name)) in histograms else name for name in named}


def render_files(plan: Plan) -> dict[str, str]:
    """Return the rule files for Prometheus, name to text."""
    return {f"{file.name}.yml": render(plan, files=[file]) for file in FILES if file.is_on(plan)}


def render(plan: Plan, *, files: Sequence[RuleFile] | None = None) -> str:
    """Return the rules of ``files``, by default of all that are on, as one file."""
    shown = [file for file in FILES if file.is_on(plan)] if files is None else files
    return _dump({"groups": [file.document(plan) for file in shown]})


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # it has no annotations
    """Writes texts of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _dump(document: dict[str, object]) -> str:
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True))
