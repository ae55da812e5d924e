from io import StringIO

from rich.console import Console

from benchmarks.report import show
from benchmarks.results import Results


def _shown(results: Results) -> list[str]:
    console = Console(file=StringIO(), width=140)
    show(console, results)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_a_table_without_rows_is_not_shown() -> None:
    assert _shown(Results()) == []


def test_what_was_tried_stands_beside_the_figures_that_it_has() -> None:
    results = Results()
    results.compare("worker.slots 128", {"drain": 0.98, "idle p50": 1.02})
    results.compare("api.flush_max_rows 512", {"ingest": 0.5, "drain": 1.0})
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in _shown(results) if line.startswith("│")]
    assert cells == [["worker.slots 128", "0.98", "1.02", ""], ["api.flush_max_rows 512", "1.00", "", "0.50"]]
