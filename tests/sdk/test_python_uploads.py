"""Uploads with OpenAI's SDK: forms in any order, of any size, byte for byte."""

from __future__ import annotations

import asyncio
import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from openai.types import ImagesResponse
from openai.types.audio import Transcription

from support.image_answers import fields

from .asks import EVERY_BYTE, PICTURE
from .gateway import EDITOR, PROJECT, TALKER, Gateway
from .python_clients import Clients, in_thread

pytestmark = pytest.mark.asyncio(loop_scope="package")

LARGE = EVERY_BYTE * 1_200
"""12 MB: more than a gateway should hold to find the name of a model behind it."""


def form(gateway: Gateway) -> dict[str, bytes]:
    """Return the fields of the one form that arrived."""
    (seen,) = gateway.seen()
    return fields(seen.header("content-type") or "", seen.body)


async def test_bytes(gateway: Gateway, clients: Clients) -> None:
    answer = await clients.async_openai.audio.transcriptions.create(model=TALKER, file=EVERY_BYTE)
    assert form(gateway)["file"] == EVERY_BYTE
    assert hashlib.sha256(EVERY_BYTE).hexdigest() in answer.text


async def test_a_file_on_disk(gateway: Gateway, clients: Clients, tmp_path: Path) -> None:
    path = tmp_path / "große Töne.wav"
    path.write_bytes(EVERY_BYTE)

    def upload() -> Transcription:
        with path.open("rb") as file:
            return clients.openai.audio.transcriptions.create(model=TALKER, file=file)

    answer = await in_thread(upload)
    assert form(gateway) == {"model": TALKER.encode(), "file": EVERY_BYTE}
    assert hashlib.sha256(EVERY_BYTE).hexdigest() in answer.text


async def test_a_path(gateway: Gateway, clients: Clients, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(PICTURE)
    await clients.async_openai.images.edit(model=EDITOR, prompt="a hat", image=path)
    assert form(gateway)["image"] == PICTURE


async def test_a_large_file(gateway: Gateway, clients: Clients) -> None:
    answer = await clients.async_openai.audio.transcriptions.create(model=TALKER, file=io.BytesIO(LARGE))
    assert f"{len(LARGE)} bytes, sha256 {hashlib.sha256(LARGE).hexdigest()}" in answer.text
    assert gateway.seen()


@pytest.mark.parametrize("data", [EVERY_BYTE, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("name", [TALKER, f"{PROJECT}/{TALKER}"])
async def test_the_model_is_named_after_the_file(gateway: Gateway, clients: Clients, data: bytes, name: str) -> None:
    parts: Any = [
        ("file", ("sound.wav", data, "audio/wav")),
        ("language", (None, b"de")),
        ("model", (None, name.encode())),
        ("prompt", (None, "Grüße".encode())),
    ]
    answer = await clients.async_openai.post(
        "/audio/transcriptions",
        cast_to=Transcription,
        files=parts,
        options={"headers": {"Content-Type": "multipart/form-data"}},
    )
    assert f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}" in answer.text
    assert form(gateway) == {
        "file": data,
        "language": b"de",
        "model": TALKER.encode(),
        "prompt": "Grüße".encode(),
    }


async def test_an_image_before_the_model(gateway: Gateway, clients: Clients) -> None:
    parts: Any = [
        ("image", ("cat.png", PICTURE, "image/png")),
        ("response_format", (None, b"b64_json")),
        ("prompt", (None, b"a hat")),
        ("model", (None, EDITOR.encode())),
    ]
    answer = await clients.async_openai.post(
        "/images/edits",
        cast_to=ImagesResponse,
        files=parts,
        options={"headers": {"Content-Type": "multipart/form-data"}},
    )
    assert answer.data
    assert form(gateway)["image"] == PICTURE


async def test_many_uploads_at_once(gateway: Gateway, clients: Clients) -> None:
    sounds = [bytes([number]) * 100_000 for number in range(8)]

    async def upload(sound: bytes) -> str:
        return (await clients.async_openai.audio.transcriptions.create(model=TALKER, file=sound)).text

    texts = await asyncio.gather(*map(upload, sounds))
    assert [hashlib.sha256(sound).hexdigest() in text for sound, text in zip(sounds, texts, strict=True)] == [True] * 8
    assert len(gateway.seen()) == 8
