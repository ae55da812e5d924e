from typing import Final

from observability.metrics.catalogue import catalogue
from observability.metrics.families import Declaration

_HEAD: Final = """\
# Metrics

Every metric of Throughline, made from the catalogue (`observability/metrics/catalogue.py`): change it there.

Each process serves its own on one port: the api with its requests, the relay and the workers on theirs. Exemplars,
which lead from an observation to its trace, come in the OpenMetrics format only, for which Prometheus asks; one
that runs with `--enable-feature=exemplar-storage` keeps them. Beside these there are `process_*` and `python_*`, which
tell of the process, the interpreter and its garbage collector.

What a relay tells of queues, the account and the stores, every relay tells alike, some seconds old: take the `max`, not
the sum. `throughline_redis_*` and `throughline_postgres_*` are absent while the store does not answer, but for `…_up`.
"""


def render_catalogue_markdown() -> str:
    """Return the page `docs/metrics.md`, one table row a metric."""
    rows = ["| metric | kind | labels | what it tells |", "|---|---|---|---|", *(_row(item) for item in catalogue)]
    buckets = ["| histogram | upper bounds |", "|---|---|", *(_bounds(item) for item in catalogue if item.buckets)]
    return "\n".join([_HEAD, *rows, "", "## Buckets", "", *buckets, ""])


def _row(declaration: Declaration[...]) -> str:
    labels = ", ".join(f"`{name}`" for name in declaration.label_names)
    return f"| `{declaration.name}` | {declaration.kind} | {labels} | {declaration.description} |"


def _bounds(declaration: Declaration[...]) -> str:
    return f"| `{declaration.name}` | {' '.join(f'{bound:g}' for bound in declaration.buckets)} |"
