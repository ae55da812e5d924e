import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from events import Permanent

SAMPLES = Path(__file__).parent / "github"
"""Events written for the project, each with what is to come of it."""

GITHUB_PREFIX = "github."


class SampleError(Permanent):
    """A file does not hold an event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An event to send: ``event`` is the body for POST /events; ``name`` tells people where it comes from.

    ``expect`` maps the pipelines it must go to onto a node that must have succeeded there; empty expects only success.
    """

    name: str
    event: Mapping[str, Any]
    expect: Mapping[str, str] = field(default_factory=dict)


def read_samples(path: Path, *, kind: str | None = None) -> Iterator[Sample]:
    """Read the events of a file, of all ``*.json`` below a folder, or of standard input (``-``).

    A file holds a body for POST /events (``type`` and ``data``), that and what to expect of it (``event`` and
    ``expect``), or the data alone: its type is then ``kind``, else ``github.`` and its folder's name, as in a folder
    of webhook bodies.

    Raises:
        SampleError: there is no such file, no event in it, or it isn't JSON; the message names the file.

    """
    if str(path) == "-":
        yield _sample("standard input", sys.stdin.buffer.read(), kind=kind)
        return
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    if not files:
        raise SampleError(f"{path}: no *.json below this folder")
    root = path if path.is_dir() else path.parent
    for file in files:
        name = str(file.relative_to(root))
        try:
            content = file.read_bytes()
        except OSError as error:
            raise SampleError(f"{file}: {error.strerror}") from error
        in_folder = file.parent != path and path.is_dir()
        yield _sample(name, content, kind=kind or (GITHUB_PREFIX + file.parent.name if in_folder else None))


def _sample(name: str, content: bytes, *, kind: str | None) -> Sample:
    try:
        body = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SampleError(f"{name}: not UTF-8 text") from error
    except (ValueError, RecursionError) as error:
        raise SampleError(f"{name}: not JSON: {error}") from error
    if isinstance(body, dict) and body.keys() == {"event", "expect"} and _is_event(body["event"]):
        return Sample(name=name, event=body["event"], expect=body["expect"])
    if _is_event(body):
        return Sample(name=name, event=body)
    if kind is None:
        raise SampleError(f'{name}: neither an event ("type" and "data") nor data of a known type: give --type')
    return Sample(name=name, event={"type": kind, "data": body})


def _is_event(body: object) -> bool:
    return isinstance(body, dict) and isinstance(body.get("type"), str) and "data" in body
