"""Real PNG images out of words: a grid of coloured squares that depends on the prompt, and the prompt itself inside.

No model draws them, and the image says so in its text.
"""

from __future__ import annotations

import hashlib
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CELLS = 8
MAX_SIDE = 2_048


def draw(prompt: str, width: int = 64, height: int = 64, seed: int = 0) -> bytes:
    """Return a PNG of `width` by `height` pixels; the same words and seed give the same image."""
    width, height = max(1, min(width, MAX_SIDE)), max(1, min(height, MAX_SIDE))
    digest = hashlib.shake_256(f"{seed}\n{prompt}".encode()).digest(3 * CELLS * CELLS)
    rows = bytearray()
    for y in range(height):
        first = y * CELLS // height * CELLS
        cells = [digest[3 * (first + at) : 3 * (first + at) + 3] for at in range(CELLS)]
        rows.append(0)  # no filter
        rows += b"".join(cells[x * CELLS // width] for x in range(width))
    text = f"Description\0{prompt} (squares by a test server, not by a model)"
    return b"".join(
        (
            SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            _chunk(b"tEXt", text.encode("latin-1", "replace")),
            _chunk(b"IDAT", zlib.compress(bytes(rows), 6)),
            _chunk(b"IEND", b""),
        )
    )


def size_of(png: bytes) -> tuple[int, int]:
    """Return width and height of a PNG, every checksum and pixel of which has been checked.

    Raises:
        ValueError: it is none.
    """
    if not png.startswith(SIGNATURE):
        raise ValueError("no PNG signature")
    at, pixels = len(SIGNATURE), b""
    width = height = 0
    name = b""
    while name != b"IEND":
        if at + 12 > len(png):
            raise ValueError("the image is cut")
        (length,) = struct.unpack_from(">I", png, at)
        name, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        if png[at + 8 + length : at + 12 + length] != struct.pack(">I", zlib.crc32(name + data)):
            raise ValueError(f"wrong checksum of {name!r}")
        if name == b"IHDR":
            width, height = struct.unpack_from(">II", data)
        elif name == b"IDAT":
            pixels += data
        at += 12 + length
    if len(zlib.decompress(pixels)) != height * (1 + 3 * width):
        raise ValueError("pixels are missing")
    return width, height


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
