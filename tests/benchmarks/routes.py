"""Every documented route of all five APIs, once, on a machine that has nothing: python -m tests.benchmarks.routes

Starts `prosopon serve` over an empty home and an empty folder of weights, without a mirror; prints what it downloads
and then the status of each operation that the OpenAPI documents name. The exit status is 1 where one was not called,
or did not answer 2xx.
"""

import base64
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.benchmarks.serving import Server, launch, stop, wait_for
from tests.paths import ROOT

APIS = ("compreface", "trueface", "facecheck", "checkface", "aifaceswap")
ANN, PARTY = (ROOT / "docs" / "pictures" / name for name in ("ann.jpg", "party.jpg"))
DOWNLOADS, READY = 900, 240
"""Seconds."""
SWAP = 120
INVERSION = 10
"""Steps: a machine that does other things takes seconds for one."""
ENDS = {"from_value": "example", "to_value": "yeet", "dim": 128, "num_frames": 4}


class Caller:
    """Sends requests and notes their status by operation, as `GET /api/v1/...{id}`."""

    def __init__(self, server: Server) -> None:
        self._http = httpx.Client(base_url=server.url, timeout=600, headers={"x-api-key": server.key})
        documents = {api: self._http.get(f"/openapi/{api}.json").json()["paths"] for api in APIS}
        self.found: dict[str, list[int]] = {
            f"{method.upper()} {path}": []
            for paths in documents.values()
            for path, operations in paths.items()
            for method in operations
        }

    def __call__(self, operation: str, send: dict[str, Any] | None = None, **values: str) -> httpx.Response:
        """operation: as in `found`; values: of what stands in braces in its path; send: the request."""
        method, path = operation.split(" ")
        answer = self._http.request(method, path.format(**values), **(send or {}))
        self.found[operation].append(answer.status_code)
        if not answer.is_success:
            print(f"{operation}: {answer.status_code} {answer.text[:300]}")
        return answer


def compreface(call: Caller) -> None:
    base = "/api/v1/recognition"
    ann, party = ({"files": {"file": path.read_bytes()}} for path in (ANN, PARTY))
    subject = {"params": {"subject": "Ann"}}
    call(f"POST {base}/subjects", {"json": {"subject": "Bob"}})
    call(f"PUT {base}/subjects/{{subject}}", {"json": {"subject": "Bert"}}, subject="Bob")
    call(f"DELETE {base}/subjects/{{subject}}", subject="Bert")
    face = call(f"POST {base}/faces", {**ann, **subject}).json()["image_id"]
    call(f"GET {base}/subjects")
    call(f"GET {base}/faces")
    call(f"GET {base}/faces/{{image_id}}/img", image_id=face)
    key = call._http.headers["x-api-key"]
    call("GET /api/v1/static/{api_key}/images/{image_id}", image_id=face, api_key=key)
    plugins = {"params": {"face_plugins": "age,gender,mask,liveness,pose,landmarks,quality,calculator"}}
    result = call(f"POST {base}/recognize", {**party, **plugins}).json()["result"]
    numbers = [one["embedding"] for one in result]
    call(f"POST {base}/faces/{{image_id}}/verify", party, image_id=face)
    call(f"POST {base}/embeddings/recognize", {"json": {"embeddings": numbers}})
    call(f"POST {base}/embeddings/group", {"json": {"embeddings": numbers}})
    call(
        f"POST {base}/embeddings/faces/{{image_id}}/verify", {"json": {"embeddings": numbers}}, image_id=face
    )
    call("POST /api/v1/detection/detect", {**party, **plugins})
    both = {"files": {"source_image": ANN.read_bytes(), "target_image": PARTY.read_bytes()}}
    call("POST /api/v1/verification/verify", both)
    pair = {"json": {"source": numbers[0], "targets": numbers}}
    call("POST /api/v1/verification/embeddings/verify", pair)
    again = call(f"POST {base}/faces", {**ann, **subject}).json()["image_id"]
    call(f"POST {base}/faces/delete", {"json": [again]})
    call(f"DELETE {base}/faces/{{image_id}}", image_id=face)
    call(f"DELETE {base}/faces", subject)
    call(f"DELETE {base}/subjects")


def trueface(call: Caller) -> None:
    raw = {"content": ANN.read_bytes(), "headers": {"Content-Type": "image/jpeg"}}
    ann, party = (base64.b64encode(path.read_bytes()).decode() for path in (ANN, PARTY))
    call("POST /v1/spdetect", raw)
    call("POST /v1/facedetect", {**raw, "params": {"rawlandmarks": "true"}})
    enrolled = [
        call("POST /v1/enroll", {"json": {"img0": picture}}).json()["data"]["enrollment_id"]
        for picture in (ann, party)
    ]
    call("PUT /v1/enroll", {"json": {"enrollment_id": enrolled[0], "img0": ann}})
    made = call("POST /v1/collection", {"json": {"name": "Home"}})
    home = {"collection_id": made.json()["data"]["collection_id"]}
    for one in enrolled:
        call("PUT /v1/collection", {"json": {**home, "enrollment_id": one}})
    call("GET /v1/collection")
    call("POST /v1/train", {"json": home})
    call("POST /v1/match", {"json": {"img": ann, "id": enrolled[0]}})
    ends = time.monotonic() + SWAP
    while not call("GET /v1/collection").json()["data"][0]["classifier_url"] and time.monotonic() < ends:
        time.sleep(0.5)
    call("POST /v1/identify", {"json": {**home, "img": ann}})
    call("DELETE /v1/collection", {"json": home})
    call("DELETE /v1/enroll", {"json": {"enrollment_id": enrolled[0]}})


def facecheck(call: Caller) -> None:
    token = {"headers": {"Authorization": call._http.headers["x-api-key"]}}
    sent = call("POST /api/upload_pic", {**token, "files": {"images": ANN.read_bytes()}}).json()
    search, picture = sent["id_search"], sent["input"][0]["id_pic"]
    call("POST /api/search", {**token, "json": {"id_search": search}})
    call("POST /api/info", token)
    call("POST /api/delete_pic", {**token, "params": {"id_search": search, "id_pic": picture}})


def checkface(call: Caller) -> None:
    for path in ("/api/status/", "/status/", "/api/queue/"):
        call(f"GET {path}")
    face = call("GET /api/face/", {"params": {"value": "example", "dim": 256}}).content
    call("GET /api/hashdata/", {"params": {"value": "example"}})
    for kind in ("gif", "webp", "mp4"):
        call(f"GET /api/{kind}/", {"params": ENDS})
    call("GET /api/morphframe/", {"params": {**ENDS, "frame_num": 1}})
    call("GET /api/linkpreview/", {"params": {"from_value": "example", "to_value": "yeet", "width": 400}})
    call("POST /api/registerlatent/", {"json": {"latent": [0.5] * 512}})
    sent = {"files": {"usrimg": ("face.jpg", face, "image/jpeg")}}
    call("POST /api/recoverlatent/", {"content": face, "headers": {"Content-Type": "image/jpeg"}})
    call("GET /api/encodeimage/")
    call("POST /api/encodeimage/", sent)
    call("GET /api/{text}/", text="example")


def aifaceswap(call: Caller) -> None:
    base = "/api/aifaceswap/v1"
    token = {"headers": {"Authorization": f"Bearer {call._http.headers['x-api-key']}"}}
    pictures = {"source_image": PARTY.read_bytes(), "face_image": ANN.read_bytes()}
    task = call(f"POST {base}/faceswap", {**token, "files": pictures}).json()["data"]["task_id"]
    several = {**token, "files": pictures, "data": {"index": "1"}}
    call(f"POST {base}/multi_faceswap", several)
    call(f"POST {base}/extract_face", {**token, "files": {"img": PARTY.read_bytes()}})
    ends = time.monotonic() + SWAP
    while time.monotonic() < ends:
        data = call(f"GET {base}/task/{{task_id}}", token, task_id=task).json()["data"]
        if data["success"] is not None:
            print(f"the swap: {data['success']}")
            return
        time.sleep(0.5)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        models = {"directory": str(Path(folder) / "models"), "mirror": None}
        began = time.monotonic()
        settings = {"apis": list(APIS), "models": models, "generation": {"inversion_steps": INVERSION}}
        server = launch(Path(folder) / "home", settings)
        try:
            server = wait_for(server, DOWNLOADS + READY)
            print(f"ready after {time.monotonic() - began:.0f} s")
            for line in re.findall(
                r"^.*(?:downloaded|cannot be had).*$", server.log.read_text(), re.MULTILINE
            ):
                print(line.strip())
            call = Caller(server)
            for api in (compreface, trueface, facecheck, checkface, aifaceswap):
                api(call)
        finally:
            stop(server)
    bad = 0
    for operation, statuses in call.found.items():
        bad += not statuses or any(status >= 300 for status in statuses)
        print(f"{', '.join(map(str, dict.fromkeys(statuses))) or 'not called':12} {operation}")
    print(f"{len(call.found) - bad} of {len(call.found)} operations answered 2xx")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
