import pytest
from rich.table import Table

from throughline.cli import output

ID = "01a20b17-e19d-74a6-a967-c51888a652d8"


@pytest.mark.parametrize("width", [20, 80, 200])
def test_a_table_of_ids_is_whole_however_narrow_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = output.Console(width=width, highlight=False, force_terminal=False)
    monkeypatch.setattr(output, "console", narrow)
    table = Table("run", "event", "error", box=None, pad_edge=False)
    table.add_row(ID, ID, "it is told in some words, more than fit")
    with narrow.capture() as shown:
        output.print_whole(table)
    heading, row = shown.get().splitlines()
    assert row == f"{ID}  {ID}  it is told in some words, more than fit"
    assert heading.split() == ["run", "event", "error"]
