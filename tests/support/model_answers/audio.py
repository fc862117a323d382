"""`/v1/audio/…`: speech out of words, and words out of sound. No sound is heard: the words tell of its bytes."""

from __future__ import annotations

import hashlib

from support.model_answers.answer import Answer, Refused, Request, count, described, event, events, tokens, whole

PIECES = 16
PIECE_BYTES = 1_000
TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav", "opus": "audio/ogg", "flac": "audio/flac", "pcm": "audio/pcm"}


def sound(text: str) -> bytes:
    """Return the bytes that a text sounds like: every value of a byte among them."""
    return hashlib.shake_256(text.encode()).digest(PIECES * PIECE_BYTES)


def speech(request: Request) -> Answer:
    """Say the words, in pieces."""
    asked = request.json()
    words = asked.get("input")
    if not words:
        raise Refused(400, "input is missing", param="input")
    data = sound(str(words))
    pieces = tuple(data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES))
    kind = TYPES.get(asked.get("response_format") or "mp3", "application/octet-stream")
    return Answer(chunks=pieces, headers={"Content-Type": kind})


def transcription(request: Request) -> Answer:
    """Write down what was said."""
    return _written(request, "transcribed")


def translation(request: Request) -> Answer:
    """Write down in English what was said."""
    return _written(request, "translated")


def _written(request: Request, done: str) -> Answer:
    if len(request.body) != request.size_bytes:
        # Too long to be looked into.
        return whole({"text": f"{done}: form of {request.size_bytes} bytes, sha256 {request.sha256}"})
    form = request.form()
    data = form.get("file")
    if data is None:
        raise Refused(400, "file is missing", param="file")
    language = form.get("language", b"en").decode()
    text = f"{done} from {language}: {described(data, 'sound')}"
    if form.get("stream") == b"true":
        told = [{"type": "transcript.text.delta", "delta": token} for token in tokens(text)]
        return events([event(each) for each in [*told, {"type": "transcript.text.done", "text": text}]])
    wanted = form.get("response_format", b"json").decode()
    if wanted in {"text", "srt", "vtt"}:
        return Answer(body=f"{text}\n".encode(), headers={"Content-Type": "text/plain; charset=utf-8"})
    usage = {"type": "tokens", "input_tokens": 1, "output_tokens": count(text), "total_tokens": 1 + count(text)}
    answer: dict[str, object] = {"text": text, "usage": usage}
    if wanted == "verbose_json":
        answer |= {"task": done, "language": language, "duration": 1.5, "segments": [], "words": []}
    return whole(answer)
