"""Files that the reader tests make for themselves, and the one way in which they read them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.readers import DocumentRecord, ReadParams, Refused, TurnRecord, find_sources, read_source

Read = Callable[..., list]


def read(path: Path, **params: object) -> list[TurnRecord | DocumentRecord | Refused]:
    """Everything that the file or folder yields."""
    settings = ReadParams(**params)  # type: ignore[arg-type]
    return [record for source in find_sources([str(path)]) for record in read_source(source, settings)]


@pytest.fixture(name="read")
def read_fixture() -> Read:
    """`read(path, kind=...)`: everything that a file or folder yields."""
    return read


@pytest.fixture(name="zipped")
def zipped_fixture() -> Callable[..., bytes]:
    """`zipped({name: content})` -> the bytes of a zip file."""
    return zipped


@pytest.fixture
def read_bytes(tmp_path: Path) -> Callable[..., list]:
    """`read_bytes("name.json", raw)` writes a file and reads it."""

    def write_and_read(name: str, raw: bytes | str, **params: object) -> list:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
        return read(path, **params)

    return write_and_read


@pytest.fixture
def read_json(read_bytes: Read) -> Read:
    """`read_json("name.json", value)` writes a value as JSON and reads it."""
    return lambda name, value, **params: read_bytes(name, json.dumps(value), **params)


@pytest.fixture
def locomo_sample() -> dict:
    """Two sessions in LoCoMo's layout, with labels that nobody may read."""
    return {
        "qa": [{"question": "SECRET?", "answer": "SECRET", "evidence": ["D1:1"]}],
        "conversation": {
            "speaker_a": "Ann",
            "speaker_b": "Bo",
            "session_1_date_time": "1:56 pm on 8 May, 2023",
            "session_1": [
                {"speaker": "Ann", "dia_id": "D1:1", "text": "Hello!"},
                {"speaker": "Bo", "dia_id": "D1:2", "text": "Look.", "blip_caption": "a dog", "img_url": ["SECRET"]},
            ],
            "session_2_date_time": "12:05 am on 9 June, 2023",
            "session_2": [{"speaker": "Ann", "dia_id": "D2:1", "text": "", "blip_caption": "a cat"}],
        },
        "session_summary": {"session_1_summary": "SECRET"},
        "observation": {"x": "SECRET"},
        "sample_id": "conv-1",
    }


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file in memory."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()
