import subprocess
import sys

import pytest

from tests.support.system import ROOT

pytestmark = [pytest.mark.verify, pytest.mark.timeout(400)]


def test_short_form_of_chaos_loses_and_doubles_nothing() -> None:
    """How long recoveries and answers take is judged where it is asked for, on a machine that is left alone."""
    done = subprocess.run(
        [sys.executable, "-m", "throughline", "chaos", "--short"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=380,
    )
    assert "6/6" in done.stdout, done.stdout + done.stderr
    assert "0 lost, 0 doubled, 0 stuck" in done.stdout, done.stdout + done.stderr
