import os
from pathlib import Path

import pytest

from throughline.embedded import DataFolder
from throughline.errors import FolderInUse, FolderUnusable


def test_a_second_stack_over_one_folder_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with DataFolder(tmp_path / "data"), pytest.raises(FolderInUse, match=str(os.getpid())):
        DataFolder(tmp_path / "data").__enter__()


def test_a_folder_that_was_given_back_can_be_taken_again(tmp_path: Path) -> None:
    for _ in range(2):
        with DataFolder(tmp_path / "data") as folder:
            assert folder.logs.is_dir()


def test_the_folder_is_its_owners_alone_and_ignored_by_git(tmp_path: Path) -> None:
    with DataFolder(tmp_path / "data") as folder:
        assert folder.path.stat().st_mode & 0o077 == 0
        assert (folder.path / ".gitignore").read_text() == "*\n"


def test_a_folder_that_cant_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderUnusable, match="file/data"):
        DataFolder(tmp_path / "file" / "data").__enter__()


def test_a_folder_with_somebody_elses_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FolderUnusable, match=r"holds other files \(notes\.txt, …\)"):
        DataFolder(tmp_path).__enter__()
    assert [item.name for item in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_of_ours_is_taken_whatever_else_lies_in_it_by_now(tmp_path: Path) -> None:
    for _ in range(2):
        with DataFolder(tmp_path / "data") as folder:
            (folder.path / "notes.txt").touch()
