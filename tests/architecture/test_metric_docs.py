import re
from pathlib import Path

from observability.metrics import catalogue, render_catalogue_markdown

_PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_of_metrics_is_what_the_catalogue_says() -> None:
    """To mend: write what ``render_catalogue_markdown`` returns to docs/metrics.md."""
    assert _PAGE.read_text(encoding="utf-8") == render_catalogue_markdown()


def test_names_and_units_follow_the_conventions_of_prometheus() -> None:
    for item in catalogue:
        assert re.fullmatch(r"(throughline|http_server)_[a-z_]+", item.name)
        assert item.name.endswith("_total") == (item.kind == "counter"), item.name
        if "duration" in item.name or "age" in item.name.split("_"):
            assert item.name.endswith("_seconds"), item.name


def test_no_metric_is_labelled_with_an_identity() -> None:
    for item in catalogue:
        for label in item.label_names:
            assert not re.search(r"(^|_)(id|host|hostname|worker|tenant|error|message)$", label), item.name
