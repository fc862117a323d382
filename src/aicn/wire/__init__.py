"""Bytes in, bytes out: what nodes send each other, without any I/O."""
