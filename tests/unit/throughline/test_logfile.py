from pathlib import Path

from throughline.supervision.logfile import LogFile


def test_the_tail_holds_the_last_lines_of_this_launch_alone(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs" / "api.log")
    with log.open() as file:
        file.write(b"before\n")
    with log.open() as file:
        file.write(b"one\ntwo\nthree\n")
    assert log.tail(2) == ["two", "three"]
    assert log.tail() == ["one", "two", "three"]
    assert log.path.read_text().startswith("before")


def test_a_log_that_was_never_written_has_no_tail(tmp_path: Path) -> None:
    assert LogFile(tmp_path / "none.log").tail() == []


def test_a_large_log_is_moved_away_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "api.log", max_bytes=100)
    with log.open() as file:
        file.write(b"x" * 150 + b"\n")
        log.limit()
        file.write(b"after\n")
    assert log.path.read_bytes() == b"after\n"
    assert (tmp_path / "api.log.1").read_bytes().startswith(b"xxx")
    assert log.tail() == ["after"]


def test_a_log_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "api.log")
    log.open().close()
    assert log.path.stat().st_mode & 0o077 == 0
