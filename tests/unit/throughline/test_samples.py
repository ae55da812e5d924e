import io
import json
import sys
from pathlib import Path

import pytest

from throughline.samples import SAMPLES, SampleError, read_samples


def write(path: Path, content: bytes | object) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_the_projects_own_samples_can_be_read() -> None:
    assert all(sample.expect for sample in read_samples(SAMPLES))


def test_data_alone_in_a_folder_of_webhook_bodies_gets_the_folders_type(tmp_path: Path) -> None:
    write(tmp_path / "issues" / "one.json", {"action": "opened"})
    (sample,) = read_samples(tmp_path)
    assert sample.event == {"type": "github.issues", "data": {"action": "opened"}}


def test_data_alone_takes_the_given_type_and_no_source_of_ours(tmp_path: Path) -> None:
    (sample,) = read_samples(write(tmp_path / "one.json", [1]), kind="shop.order")
    assert sample.event == {"type": "shop.order", "data": [1]}


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    (sample,) = read_samples(write(tmp_path / "one.json", b'\xef\xbb\xbf{"type": "a", "data": 1}'))
    assert sample.event == {"type": "a", "data": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b'{"event": 5, "expect": {}}', "give --type"),
        (b'{"type": 5, "data": {}}', "give --type"),
        (b"[1, 2]", "give --type"),
    ],
)
def test_what_is_no_event_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str) -> None:
    with pytest.raises(SampleError, match=rf"wrong\.json: .*{said}"):
        list(read_samples(write(tmp_path / "wrong.json", content)))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
    with pytest.raises(SampleError, match=rf"standard input: .*{said}"):
        list(read_samples(Path("-")))


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"gone\.json: No such file"):
        list(read_samples(tmp_path / "gone.json"))
    with pytest.raises(SampleError, match=r"no \*\.json below"):
        list(read_samples(tmp_path))
