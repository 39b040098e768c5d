"""DeepFace's server beside ours: CenterFace and dlib's network, the same files for both.

    python3.11 -m venv PEER
    PEER/bin/pip install "deepface[api]" tensorflow-cpu tf-keras gunicorn dlib-bin    # 0.0.103 was tried
    prosopon models pull centerface dlib-resnet29
    python -m tests.benchmarks.peers.deepface PEER

What is set: two workers of gunicorn, the models loaded at the start, everything else as shipped. Its /represent finds
faces and gives their embeddings, which is what our detection with the plugin `calculator` does; recognition in a
gallery is measured beside it.
"""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from prosopon.configs.settings import ModelSettings
from prosopon.models.weights.registry import resolve
from tests.benchmarks.bare import pictures
from tests.benchmarks.loadgen import post
from tests.benchmarks.peers.in_turns import Contender, compare, running
from tests.benchmarks.peers.ours import with_overrides
from tests.benchmarks.serving import free_port

MODELS = ModelSettings(overrides={"detector": "centerface", "embedder": "dlib-resnet29"})
WORKERS = 2


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    gunicorn = Path(sys.argv[1]).resolve() / "bin/gunicorn"
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        weights = home / ".deepface/weights"
        weights.mkdir(parents=True)
        for role in ("detector", "embedder"):
            path = resolve(MODELS, role).path
            (weights / path.name).symlink_to(path)
        environment = {
            "DEEPFACE_HOME": folder,
            "DEEPFACE_FACE_RECOGNITION_MODELS": "Dlib",
            "DEEPFACE_FACE_DETECTION_MODELS": "centerface",
            "DEEPFACE_LOG_LEVEL": "30",
        }
        contenders = list(stack.enter_context(with_overrides(MODELS.overrides)))
        port = free_port()
        command = [
            str(gunicorn), "-w", str(WORKERS), "--timeout", "3600", "-b", f"127.0.0.1:{port}",
            "deepface.api.src.app:create_app()",
        ]  # fmt: skip
        address = stack.enter_context(running(command, port, home, environment))
        contenders.append(Contender("DeepFace", address, [_represent(address, data) for data in pictures()]))
        compare(contenders)


def _represent(address: str, data: bytes) -> bytes:
    boundary = "prosopon-benchmark"
    fields = {"model_name": "Dlib", "detector_backend": "centerface"}
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="img"; filename="face.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = "".join(parts).encode() + head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return post(f"http://{address}/represent", body, f"multipart/form-data; boundary={boundary}", {})


if __name__ == "__main__":
    main()
