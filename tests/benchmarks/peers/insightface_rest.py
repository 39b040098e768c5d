"""InsightFace-REST beside ours: SCRFD-500M at 640 px and MobileFaceNet, the same files for both.

    git clone https://github.com/SthPhoenix/InsightFace-REST PEER    # fb854d8 was tried
    python3.11 -m venv PEER/venv                                     # what it needs on a CPU
    PEER/venv/bin/pip install fastapi fastapi-offline uvicorn gunicorn aiofiles httpx requests python-multipart ujson \
        msgpack tqdm numba opencv-python-headless scikit-image onnx==1.16.0 onnxruntime==1.16.3 "numpy<2" exifread \
        "PyTurboJPEG<2" imageio aiohttp tenacity colorlog            # and TurboJPEG's library, libturbojpeg0
    prosopon models pull scrfd-500m mobilefacenet-y1
    python -m tests.benchmarks.peers.insightface_rest PEER

What is set: its backend `onnx`, 640 x 640, two workers of gunicorn, embeddings asked for, everything else as shipped.
Files go as base64 in JSON, which is its own form. The second server of it is tuned: one thread a session instead of
one a core, and the thresholds of malloc that our replicas have. Ours answers detection with embeddings, which is what
its /extract does, and recognition in a gallery, for which it has nothing.
"""

import base64
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import onnx

from prosopon.configs.settings import ModelSettings
from prosopon.models.convert.openvino_ir import read, to_onnx
from prosopon.models.weights.registry import resolve
from prosopon.pipelines.running import PROCESS_ENVIRONMENT
from tests.benchmarks.bare import pictures
from tests.benchmarks.loadgen import post
from tests.benchmarks.peers.in_turns import Contender, compare, running
from tests.benchmarks.peers.ours import with_overrides
from tests.benchmarks.serving import free_port

MODELS = ModelSettings(overrides={"detector": "scrfd-500m", "embedder": "mobilefacenet-y1"})
WORKERS = 2

_NO_CACHE = """\
import numba

njit = numba.njit
numba.njit = lambda *functions, cache=False, **options: njit(*functions, **options)
"""
"""`sitecustomize`, which Python imports first of all: numba 0.6x cannot keep its functions on disk, and answers 500."""

_ONE_THREAD = """\
import onnxruntime


class Session(onnxruntime.InferenceSession):
    def __init__(self, model, sess_options=None, **options):
        if sess_options is None:
            sess_options = onnxruntime.SessionOptions()
            sess_options.intra_op_num_threads = 1
        super().__init__(model, sess_options, **options)


onnxruntime.InferenceSession = Session
"""
"""The same with the one line of tuning, without a change of the peer's code."""


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    code = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        shipped, tuned = Path(folder, "shipped"), Path(folder, "tuned")
        contenders = list(stack.enter_context(with_overrides(MODELS.overrides)))
        for home, name in ((shipped, "InsightFace-REST"), (tuned, "InsightFace-REST, tuned")):
            home.mkdir()
            environment = {"PYTHONPATH": f"{home}:{code}", **_settings(home)}
            first = _NO_CACHE
            if home is tuned:
                first += _ONE_THREAD
                environment |= PROCESS_ENVIRONMENT
            (home / "sitecustomize.py").write_text(first)
            port = free_port()
            command = [
                str(code / "venv/bin/gunicorn"), "-w", str(WORKERS), "-k", "uvicorn.workers.UvicornWorker",
                "--keep-alive", "60", "--timeout", "60", "-b", f"127.0.0.1:{port}", "if_rest.api.main:app",
            ]  # fmt: skip
            address = stack.enter_context(running(command, port, home, environment))
            contenders.append(Contender(name, address, [_extract(address, data) for data in pictures()]))
        compare(contenders)


def _settings(home: Path) -> dict[str, str]:
    """Its environment, with the weights where it looks for them."""
    declared = {
        "detector": {"shape": [1, 3, 640, 640], "reshape": True, "function": "scrfd", "allow_batching": True},
        "embedder": {"shape": [1, 3, 112, 112], "reshape": False, "function": "arcface_mxnet"},
    }
    (home / "models.json").write_text(json.dumps(declared))
    detector, embedder = (home / f"onnx/{name}/{name}.onnx" for name in declared)
    for path in (detector, embedder):
        path.parent.mkdir(parents=True)
    detector.write_bytes(_with_batches(resolve(MODELS, "detector").path))
    embedder.write_bytes(to_onnx(read(*resolve(MODELS, "embedder").paths)))
    return {
        "MODELS_DIR": str(home),
        "DET_NAME": "detector",
        "REC_NAME": "embedder",
        "INFERENCE_BACKEND": "onnx",
        "MAX_SIZE": "640,640",
        "LOG_LEVEL": "WARNING",
    }


def _with_batches(path: Path) -> bytes:
    """The detector with ``(1, N, C)`` instead of ``(N, C)`` for outputs, as its code expects them: the same numbers."""
    model = onnx.load(path)
    graph = model.graph
    for output in graph.output:
        flat, last = f"{output.name}_flat", output.type.tensor_type.shape.dim[-1].dim_value
        for node in graph.node:
            for at, name in enumerate(node.output):
                if name == output.name:
                    node.output[at] = flat
        graph.initializer.append(
            onnx.helper.make_tensor(f"{flat}_shape", onnx.TensorProto.INT64, [3], [1, -1, last])
        )
        graph.node.append(onnx.helper.make_node("Reshape", [flat, f"{flat}_shape"], [output.name]))
        output.CopyFrom(
            onnx.helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, [1, None, last])
        )
    return bytes(model.SerializeToString())


def _extract(address: str, data: bytes) -> bytes:
    asked = {"images": {"data": [base64.b64encode(data).decode()]}, "extract_embedding": True}
    headers = {"Accept": "application/json"}  # Without one it answers 500.
    return post(f"http://{address}/extract", json.dumps(asked).encode(), "application/json", headers)


if __name__ == "__main__":
    main()
