"""Ask a model of the network with OpenAI's own package: pip install openai.

python examples/openai_chat.py SmolLM2-135M "Why is the sky blue?" [http://127.0.0.1:7002]
"""

from __future__ import annotations

import os
import sys

from openai import APIError, OpenAI


def main() -> int:
    """List the models, send one chat, print its words as they come and what they cost."""
    if len(sys.argv) not in {3, 4}:
        print(__doc__, file=sys.stderr)
        return 2
    model, prompt = sys.argv[1:3]
    base = sys.argv[3] if len(sys.argv) > 3 else "http://127.0.0.1:7002"
    # On the node's own machine any key will do; elsewhere one of `aicn keys add`.
    with OpenAI(base_url=f"{base}/v1", api_key=os.environ.get("AICN_API_KEY", "unused")) as client:
        try:
            print("models:", ", ".join(each.id for each in client.models.list()))
            stream = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": prompt}],
                stream=True,
                stream_options={"include_usage": True},
            )
            for chunk in stream:
                for choice in chunk.choices:
                    print(choice.delta.content or "", end="", flush=True)
                if chunk.usage:
                    print(f"\n\n{chunk.usage.prompt_tokens} + {chunk.usage.completion_tokens} tokens")
        except APIError as error:
            print(error.message, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
