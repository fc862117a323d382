"""The peer-to-peer network: `host` is the seam, `native` the Rust core behind it, `memory` its twin for tests."""
