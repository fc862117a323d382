"""A small model server for the demonstration and the end-to-end tests: llama.cpp with one GGUF file.

`python -m aicn.tools.model_server --weights FILE --port PORT` answers the OpenAI API at
`http://127.0.0.1:PORT/v1/chat/completions` until SIGTERM or SIGINT. It needs the package `xllamacpp`
(`pip install 'aicn[demo]'`), which brings llama.cpp and its HTTP server as one binary.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Final

__all__ = ["main"]

CONTEXT_TOKENS: Final = 4_096
"""Shared by the slots; a demonstration asks short questions."""

SLOTS: Final = 4
"""Requests answered side by side."""

THREADS: Final = max(1, min(8, (os.cpu_count() or 1) // 2))
"""Half of the cores. llama.cpp's threads wait for each other at every layer: where one of them shares its core with a
busy process all of them stand still. On two busy cores one thread wrote 50 tokens per second, two wrote 4."""

SIGNAL_LOOK_S: Final = 0.5
"""How late a request to stop is seen at worst."""

QUIET: Final = -1
"""llama.cpp's verbosity that prints nothing but failures."""


def main(argv: list[str] | None = None) -> int:
    """Serve until asked to stop.

    Args:
        argv: the command line without the program's name; None: that of this process.

    Returns:
        The exit status: 0 after a stop that was asked for, 1 when the server cannot start.
    """
    parser = argparse.ArgumentParser(prog="python -m aicn.tools.model_server", description="Serve one GGUF file.")
    parser.add_argument("--weights", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--port", type=int, default=0, help="loopback port, 0: any free one")
    parser.add_argument("--name", default="model", help="the model's name in answers")
    options = parser.parse_args(argv)

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if not options.weights.is_file():
        return _failed(f"{options.weights} is not a file: name a GGUF file with --weights")
    try:
        server = _start(options.weights, options.port, options.name)
    except ImportError:
        return _failed("the package xllamacpp is missing: pip install 'aicn[demo]'")
    except RuntimeError as error:
        return _failed(f"llama.cpp cannot serve {options.weights} on port {options.port}: {error}")
    print(f"listening on {server.listening_address}", flush=True)  # noqa: T201 - the line that the starter reads
    # In turns: where the signal came to one of llama.cpp's threads, it does not wake this one.
    while not stop.wait(SIGNAL_LOOK_S):
        pass
    return 0


def _start(weights: Path, port: int, name: str) -> Any:
    llama = importlib.import_module("xllamacpp")
    params = llama.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = SLOTS
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.n_threads = THREADS
    params.verbosity = QUIET
    params.offline = True
    params.ui = False
    params.warmup = False
    # No cache of past prompts beside the slots' own: memory is better left to the user.
    params.cache_ram_mib = 0
    return llama.Server(params)


def _failed(message: str) -> int:
    print(f"aicn: {message}", file=sys.stderr)  # noqa: T201 - a program of its own
    return 1


if __name__ == "__main__":
    sys.exit(main())
