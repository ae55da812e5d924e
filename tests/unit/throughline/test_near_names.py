import pytest

from throughline.cli.nothing import near_names

TYPES = {"github.issues", "github.issue_comment", "shop.order_placed"}


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ("github.issue", ["github.issues", "github.issue_comment"]),
        ("github.*", ["github.issues", "github.issue_comment"]),
        ("Order", ["shop.order_placed"]),
        ("shop.order_placed", []),
        ("nothing like it", []),
        ("", []),
    ],
)
def test_near_names_are_alike_or_hold_what_was_asked_for(wanted: str, near: list[str]) -> None:
    assert near_names(wanted, TYPES) == near
