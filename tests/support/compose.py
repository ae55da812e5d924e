"""The compose stack as its files say it, read by compose's own rules, and a part of it brought up from them."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BASE, OVERRIDE = ROOT / "docker-compose.yml", ROOT / "docker-compose.override.yml"
PASSWORDS = {
    "POSTGRES_PASSWORD": "pg-7f3a",
    "REDIS_PASSWORD": "redis-9c1d",
    "FLOWER_PASSWORD": "flower-2b8e",
    "GRAFANA_PASSWORD": "grafana-5d0c",
}


def read(*files: Path, environment: Mapping[str, str] = PASSWORDS) -> subprocess.CompletedProcess[str]:
    """Let compose's own loader, or else Docker's plugin, read ``files``: every profile, and no variable but these.

    Skips where there is neither.
    """
    program = os.environ.get("TEST_COMPOSE_CONFIG")
    command = [program, *map(str, files)] if program else [*_plugin(), *_arguments(files)]
    outside = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        command, env={**outside, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def _plugin() -> list[str]:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("nothing here reads compose files: set TEST_COMPOSE_CONFIG (.ci/go-tools makes it)")
    return [docker, "compose", "--env-file", os.devnull, "--profile", "*"]


def _arguments(files: Iterable[Path]) -> list[str]:
    return [*(part for file in files for part in ("--file", str(file))), "config", "--format", "json"]


def model(*files: Path, environment: Mapping[str, str] = PASSWORDS) -> dict[str, Any]:
    """What the files come to; the loader must be content."""
    done = read(*files, environment=environment)
    assert done.returncode == 0, done.stderr
    # The plugin writes dollars as they would stand in a file.
    read_back: dict[str, Any] = json.loads(done.stdout.replace("$$", "$"))
    return read_back


def load(path: Path) -> Any:
    """What a YAML file says."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def merged() -> dict[str, dict[str, Any]]:
    """The services with what the override changes, closely enough for fields that are set in one file only."""
    base, override = load(BASE)["services"], load(OVERRIDE)["services"]
    return {name: {**base.get(name, {}), **override.get(name, {})} for name in {**base, **override}}


def services(*files: Path) -> dict[str, Any]:
    """The services of the model, by name."""
    found: dict[str, Any] = model(*files)["services"]
    return found
