from rich.console import Console
from rich.table import Table

from benchmarks.results import Results, Verdict

_STYLE = {Verdict.AIM: "green", Verdict.BOUND: "yellow", Verdict.MISSED: "red"}
_SOME = 100


def show(console: Console, results: Results) -> None:
    """Print the table of ratios, of medians, and what an event costs each process."""
    _show_ratios(console, results)
    _show_figures(console, results)
    _show_costs(console, results)
    _show_comparisons(console, results)
    for name, fact in results.facts.items():
        console.print(f"  {name}: {fact}", style="dim", markup=False)
    for complaint in results.complaints:
        console.print(f"  {complaint}", style="bold red", markup=False)


def _show_ratios(console: Console, results: Results) -> None:
    table = Table(title="ratios, within this run", title_justify="left")
    for column in ("what", "reached", "aim", "not beyond", ""):
        table.add_column(column, justify="left" if column in {"what", ""} else "right")
    for one in results.reached():
        goal, style = one.goal, _STYLE[one.verdict]
        reached = f"[{style}]{_number(one.value)}[/{style}]"
        table.add_row(goal.title, f"{reached} {goal.unit}", _number(goal.aim), _number(goal.bound), one.verdict.value)
    _print(console, table)


def _show_figures(console: Console, results: Results) -> None:
    table = Table(title="medians", title_justify="left")
    for column in ("figure", "median", "unit", "times", "spread"):
        table.add_column(column, justify="right" if column in {"median", "times", "spread"} else "left")
    for name, figure in results.figures.items():
        spread = f"{figure.spread:.0%}" if len(figure.values) > 1 else ""
        table.add_row(name, _number(figure.median), figure.unit, str(len(figure.values)), spread)
    _print(console, table)


def _show_costs(console: Console, results: Results) -> None:
    kinds = sorted({kind for used in results.costs.values() for kind, cost in used.items() if cost >= 1})
    table = Table(title="CPU microseconds an event", title_justify="left")
    for column in ("", *kinds, "all"):
        table.add_column(column, justify="right" if column else "left")
    for what, used in results.costs.items():
        cells = [f"{used[kind]:,.0f}" if kind in used else "" for kind in kinds]
        table.add_row(what, *cells, f"{sum(used.values()):,.0f}")
    _print(console, table)


def _show_comparisons(console: Console, results: Results) -> None:
    figures = list(dict.fromkeys(figure for ratios in results.comparisons.values() for figure in ratios))
    table = Table(title="over what it is with the default, within this run", title_justify="left")
    for column in ("setting", *figures):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for what, ratios in results.comparisons.items():
        table.add_row(what, *(_number(ratios[figure]) if figure in ratios else "" for figure in figures))
    _print(console, table)


def _print(console: Console, table: Table) -> None:
    if table.row_count:
        console.print(table)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _SOME else f"{value:,.2f}"
