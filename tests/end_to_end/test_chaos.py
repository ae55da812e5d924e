import subprocess
import sys

import pytest

from tests.support.system import ROOT

pytestmark = [pytest.mark.verify, pytest.mark.timeout(400)]


def test_short_form_of_chaos_keeps_every_promise() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "throughline", "chaos", "--short"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=380,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 lost, 0 doubled, 0 stuck" in done.stdout
