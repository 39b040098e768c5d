"""Pictures as phones take them, HEIC and AVIF, are read by every API."""

import base64
import io
import uuid
from pathlib import Path

import httpx
import pillow_heif
import pytest
from PIL import Image

from tests.conformance.aifaceswap_client import new_swapper
from tests.conformance.client import new_client, new_key
from tests.conformance.facecheck_client import FaceCheckClient
from tests.conformance.trueface_client import TruefaceClient
from tests.support.in_process import InProcess, OverHttp

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["heic", "avif"])
def picture(request: pytest.FixtureRequest, london: list[Path]) -> bytes:
    """A portrait, written by libheif or by libavif."""
    stream = io.BytesIO()
    portrait = Image.open(london[0]).convert("RGB")
    if request.param == "heic":
        pillow_heif.from_pillow(portrait).save(stream, quality=90)
    else:
        portrait.save(stream, "AVIF", quality=90)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["IMG_0001.HEIC", "blob"])
def test_compreface(faces_in_process: InProcess, picture: bytes, name: str) -> None:
    client = new_client(faces_in_process, "recognition", "detection")
    answer = client.post("/recognition/faces", params={"subject": "Ann"}, files={"file": (name, picture)})
    assert answer.status_code == 201, answer.text
    image = client.get(f"/recognition/faces/{answer.json()['image_id']}/img")
    assert image.content == picture and image.headers["content-type"] in ("image/heic", "image/avif")
    text = base64.b64encode(picture).decode()
    assert len(client.post("/detection/detect", json={"file": text}).json()["result"]) == 1


def test_trueface(faces_in_process: InProcess, picture: bytes) -> None:
    client = TruefaceClient(faces_in_process.connect(), new_key(faces_in_process, "trueface"))
    for kind in ("image/heic", "image/avif", "image/jpeg"):
        answer = client.request("POST", "/facedetect", content=picture, headers={"Content-Type": kind})
        assert answer.status_code == 200 and len(answer.json()["data"]["faces"]) == 1, answer.text


def test_facecheck(client: FaceCheckClient, picture: bytes) -> None:
    uploaded = client.upload(picture)
    assert uploaded["error"] is None and len(uploaded["input"]) == 1
    items = client.search(uploaded["id_search"])["output"]["items"]
    assert items[0]["score"] >= 90


def test_checkface(makers_in_process: OverHttp, picture: bytes) -> None:
    answer = httpx.post(f"{makers_in_process.url}/api/recoverlatent/", content=picture, timeout=120)
    assert answer.status_code == 200 and uuid.UUID(answer.text), answer.text


def test_aifaceswap(makers_in_process: OverHttp, picture: bytes, london: list[Path]) -> None:
    swapper = new_swapper(makers_in_process)
    found = swapper.post("extract_face", files={"img": ("IMG_0001.HEIC", picture)}).json()
    assert len(found["data"]["faces"]) == 1
    files = {"source_image": ("a.heic", picture), "face_image": ("b.jpg", london[1].read_bytes())}
    assert swapper.wait(swapper.accepted("faceswap", files=files))["success"] == 1
