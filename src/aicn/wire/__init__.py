"""Bytes in, bytes out: what nodes send each other, without any I/O."""

# Callers name the module they mean: each is one part of it.
__all__: list[str] = []
