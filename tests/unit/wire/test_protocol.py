"""The generated protobuf module is the one that `protocol.proto` gives."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import aicn.wire

WIRE = Path(aicn.wire.__file__).parent


@pytest.mark.parametrize("name", ["protocol_pb2.py", "protocol_pb2.pyi"])
def test_generated_module_is_current(tmp_path: Path, name: str) -> None:
    copy = tmp_path / "aicn" / "wire" / "protocol.proto"
    copy.parent.mkdir(parents=True)
    shutil.copy(WIRE / "protocol.proto", copy)
    subprocess.run(  # noqa: S603 - our own interpreter
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={tmp_path}",
            f"--python_out={tmp_path}",
            f"--pyi_out={tmp_path}",
            str(copy),
        ],
        check=True,
    )
    assert (copy.parent / name).read_bytes() == (WIRE / name).read_bytes(), "run `make proto`"
