"""The peer-to-peer network: `host` is the seam, `native` the Rust core behind it, `memory` its twin for tests."""

# Callers name the module they mean: each is one part of it.
__all__: list[str] = []
