from throughline.supervision.guard_process import watch


def test_what_was_added_and_not_removed_is_to_be_ended() -> None:
    lines = ["+ 10 9 0.0\n", "+ 11 2 10.0\n", "- 10\n", "- 99\n"]
    assert watch(lines) == {11: (2, 10.0)}


def test_a_line_that_was_cut_off_is_left_out() -> None:
    assert watch(["+ 10 15 5.0\n", "+ 11"]) == {10: (15, 5.0)}
