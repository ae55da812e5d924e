import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import PipelineError
from settings import PipelineSettings
from tests.support.system import ROOT
from throughline.local.pipelines import require_pipelines


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(PipelineError, match=r"module 'nowhere' can't be imported .*THROUGHLINE_PIPELINES_MODULES"):
        require_pipelines(PipelineSettings(modules=("nowhere",)))


def test_a_module_in_the_folder_that_one_is_in_is_found_as_the_processes_find_it(tmp_path: Path) -> None:
    """Without the folder on the path, as a command that pip installed has it."""
    (tmp_path / "here.py").write_text("from tests.support.flows import steady\n")
    look = (
        f"import sys; sys.path[:] = [{str(ROOT)!r}, *(p for p in sys.path if p)];"
        "from settings import PipelineSettings; from throughline.local.pipelines import require_pipelines;"
        "require_pipelines(PipelineSettings(modules=('here',)))"
    )
    assert subprocess.run([sys.executable, "-c", look], cwd=tmp_path, check=False).returncode == 0
