"""Ask a model of the network and print its words as they come. Standard library only.

python examples/stream_chat.py demo SmolLM2-135M "Why is the sky blue?" [http://127.0.0.1:7002]
"""

from __future__ import annotations

import json
import sys
from urllib.request import Request, urlopen


def main() -> int:
    """Send one chat, print the words, then who answered."""
    if len(sys.argv) not in {4, 5}:
        print(__doc__, file=sys.stderr)
        return 2
    project, model, prompt = sys.argv[1:4]
    base = sys.argv[4] if len(sys.argv) > 4 else "http://127.0.0.1:7002"
    chat = {"project": project, "model": model, "stream": True, "messages": [{"role": "user", "content": prompt}]}
    request = Request(
        f"{base}/api/v0/chat/completion/proxy",
        data=json.dumps(chat).encode(),
        headers={"Content-Type": "application/json"},
    )
    whole = False
    with urlopen(request, timeout=180) as answer:
        for line in answer:
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                whole = True
            elif line.startswith(b"data:"):
                event = json.loads(data)
                if "error" in event:
                    break
                for choice in event["choices"]:
                    print(choice["delta"].get("content") or "", end="", flush=True)
        print(f"\n\nanswered by {answer.headers['x-aicn-node']}")
    if not whole:
        # Without [DONE] the answer is not whole, whatever was printed.
        print("the answer broke off", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
