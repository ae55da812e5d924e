import os
import shutil
from pathlib import Path

import pytest

from throughline.embedded.privileges import Account, ordinary_account
from throughline.errors import StackError


def test_an_ordinary_user_runs_it_as_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert ordinary_account(Path("/bin/true"), data=tmp_path) == Account()


def test_root_without_setpriv_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(StackError, match="install util-linux"):
        ordinary_account(Path("/bin/true"), data=tmp_path)
