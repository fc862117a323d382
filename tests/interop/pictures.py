"""A picture, and what is said about it: long enough for many reads, bytes that no text encoding would leave alone."""

from __future__ import annotations

import base64
from typing import Final

JSON: Final = {"Content-Type": "application/json"}
PICTURE: Final = bytes(range(256)) * 2_000
B64: Final = {"created": 1_700_000_000, "data": [{"b64_json": base64.b64encode(PICTURE).decode()}]}
URL: Final = {"created": 1_700_000_000, "data": [{"url": "http://127.0.0.1/a.png"}]}
IMAGE: Final = {"model": "i", "prompt": "a cat", "n": 1, "size": "512x512", "width": 512, "height": 512}
BOUNDARY: Final = "b0undary"
FORM: Final = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
).encode() + b"".join(
    [
        PICTURE,
        f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na hat'.encode(),
        f"\r\n--{BOUNDARY}--\r\n".encode(),
    ]
)
MULTIPART: Final = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
