from pathlib import Path

from throughline.chaos.pressure import Pressure


def test_share_is_what_was_waited_since(tmp_path: Path) -> None:
    file = tmp_path / "cpu"
    file.write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=5000000\nfull avg10=0.00 total=0\n")
    pressure = Pressure(file)
    assert pressure.share() == 0.0
    file.write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=9000000\nfull avg10=0.00 total=0\n")
    assert pressure.share() == 1.0


def test_kernel_that_says_nothing_gives_none(tmp_path: Path) -> None:
    assert Pressure(tmp_path / "absent").share() is None
