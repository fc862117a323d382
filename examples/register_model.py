"""Register the chat model of a server on this machine with the node on this machine. Standard library only.

python examples/register_model.py demo llama http://127.0.0.1:8080/v1/chat/completions [http://127.0.0.1:7002]
"""

from __future__ import annotations

import json
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def main() -> int:
    """Register one model; say what the node said."""
    if len(sys.argv) not in {4, 5}:
        print(__doc__, file=sys.stderr)
        return 2
    project, model, api = sys.argv[1:4]
    base = sys.argv[4] if len(sys.argv) > 4 else "http://127.0.0.1:7002"
    fields = {"project": project, "model": model, "api": api, "type": 0, "cid": ""}
    request = Request(
        f"{base}/api/v0/ai/model/register",
        data=json.dumps(fields).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urlopen(request, timeout=10) as answer:
            print(json.load(answer)["message"])
    except HTTPError as error:
        print(json.load(error)["message"], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
