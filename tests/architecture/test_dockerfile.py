import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint isn't installed (requirements/dev.txt has it)")
    done = subprocess.run([program, str(DOCKERFILE)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_package_of_ours_is_in_the_image_and_in_the_context() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    context = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert context[0] == "*", "what is in the context is named, so that no .env and no history gets in"
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "tests"}
    assert {"api", "worker", "throughline", "migrations"} <= packages
    for name in packages:
        assert f"COPY {name} /opt/throughline/app/{name}\n" in text
        assert f"!{name}" in context
