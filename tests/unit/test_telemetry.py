"""The models report to nobody."""

import os
import subprocess
import sys
from pathlib import Path


def test_onnx_runtime_keeps_no_device_id_and_no_events(tmp_path: Path) -> None:
    known = {"PATH", "PYTHONPATH", "LD_LIBRARY_PATH"}  # In a CI's environment it would be silent anyway.
    environment = {name: value for name, value in os.environ.items() if name in known} | {
        "HOME": str(tmp_path)
    }
    program = "import prosopon.models.runtime.session, onnxruntime; onnxruntime.SessionOptions()"
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
