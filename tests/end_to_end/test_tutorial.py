"""Does what docs/tutorial.md says, as it stands there."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.support.command import Command, command, up_settings
from tests.support.system import ROOT, eventually

PAGE = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(python|sh)(?: (\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SET_UP = re.compile(r"^(make \.venv/dev\.stamp|\. \.venv/bin/activate)\n", re.MULTILINE)
"""Has happened before the suite began."""


class Block(NamedTuple):
    language: str
    name: str
    text: str


def blocks() -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(PAGE)]


class Reader:
    """Somebody who follows the page in one terminal."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.said = ""
        (folder / "bin").mkdir()
        command = folder / "bin/throughline"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m throughline "$@"\n')
        command.chmod(0o755)
        path = os.pathsep.join([str(command.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {key: value for key, value in os.environ.items() if not key.startswith(("THROUGHLINE_", "OTEL_"))}
        self.environment = {**own, "PATH": path, "PYTHONPATH": f"{ROOT}:{folder}", **settings}
        self.api = f"127.0.0.1:{settings.get('THROUGHLINE_API_PORT', '8000')}"

    def follow(self, block: Block) -> str:
        if block.language == "python":
            (self.folder / block.name).write_text(block.text, encoding="utf-8")
            return ""
        text = SET_UP.sub("", block.text).replace("127.0.0.1:8000", self.api)
        script = f"set -eu; [ ! -e .exported ] || . ./.exported\n{text}\nexport -p > .exported"
        ended = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=110,
            check=False,
        )
        assert ended.returncode == 0, f"{text}\n{ended.stdout}"
        self.said += ended.stdout
        return ended.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "checkout"
    folder.mkdir()
    return folder


def up_block() -> int:
    return next(number for number, block in enumerate(blocks()) if block.name == "up")


def test_the_pages_flow_is_made_run_tested_and_drawn(folder: Path) -> None:
    reader = Reader(folder)
    for block in blocks()[: up_block()]:
        reader.follow(block)
    assert re.search(r"notify +not called", reader.said), reader.said
    assert "repository_activity: 0 errors, 0 warnings" in reader.said
    for node in ("ship", "ask_person"):
        assert f'decide  "{node}"' in reader.said
    assert "4 passed" in reader.said
    assert "flowchart TD" in reader.said
    assert (folder / "orders.svg").read_text(encoding="utf-8").startswith("<svg ")


def test_the_pages_python_is_as_clean_as_the_projects_own(folder: Path) -> None:
    (folder / "shop").mkdir()
    (folder / "tests").mkdir()
    shutil.copy(ROOT / "pyproject.toml", folder)
    files = [block for block in blocks() if block.language == "python"]
    for block in files:
        (folder / block.name).write_text(block.text, encoding="utf-8")
    lint = [sys.executable, "-m", "ruff", "check", "--no-cache", "--ignore", "INP001,I001,PLR2004", "."]
    ended = subprocess.run(lint, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.verify
@pytest.mark.timeout(400)
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_whole_page(folder: Path) -> None:
    settings = up_settings()
    reader = Reader(folder, **settings)
    every, up_at = blocks(), up_block()
    for block in every[:up_at]:
        reader.follow(block)
    modules = {"THROUGHLINE_PIPELINES_MODULES": '["shop.orders"]'}
    with command("up", output=folder / "up.txt", cwd=folder, **settings, **modules) as up:
        up.until("Ctrl-C stops everything")
        for block in every[up_at + 1 :]:
            said = reader.follow(block)
            if "sed -i" in block.text:
                restarted(up)
        assert "succeeded" in said, said
        assert re.search(r"run \S+  orders v1  succeeded in", reader.said), reader.said
        events = httpx.get(f"http://{reader.api}/events?type=shop.order_placed", trust_env=False).json()["items"]
        assert [event["id"] for event in events] == ["order-2", "order-1"]
        second = httpx.get(f"http://{reader.api}/events/{events[0]['event_id']}", trust_env=False).json()
        nodes = {node["node"]: node["status"] for node in second["runs"][0]["nodes"]}
        assert (nodes["ask_person"], nodes["ship"]) == ("succeeded", "skipped")
        up.process.send_signal(signal.SIGTERM)
        assert up.end() == 0, up.said
    assert "shop/orders.py changed: restarting api, worker, cell" in up.said
    assert (folder / "orders.svg").read_text(encoding="utf-8").startswith("<svg ")


def restarted(up: Command) -> None:
    """Wait until all three are ready for the second time."""
    wanted = ("api", "worker", "cell")
    eventually(
        lambda: all(len(re.findall(rf"\b{name} ready", up.said)) == 2 for name in wanted),
        timeout=120,
        what=f"a restart of {wanted}: {up.said}",
    )
