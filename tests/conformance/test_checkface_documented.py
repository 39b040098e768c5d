"""CheckFace's documented calls against a server, with small pictures and short films."""

import base64
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image

from prosopon.models.generation.latents import Morph
from tests.paths import ROOT, SHARED, require
from tests.support.in_process import OverHttp

ENDS = {"from_value": "example", "to_value": "yeet"}
FILM = {**ENDS, "dim": 64, "num_frames": 8}


@pytest.fixture(scope="module")
def api(makers_in_process: OverHttp) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=makers_in_process.url, timeout=120) as client:
        yield client


def get(api: httpx.Client, path: str, **params: Any) -> httpx.Response:
    answer = api.get(f"/api/{path}/", params=params)
    assert answer.status_code == 200, answer.text
    return answer


def pixels(answer: httpx.Response) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB")).astype(int)


def difference(a: httpx.Response, b: httpx.Response) -> float:
    """Mean over pixels, in levels of 0..255."""
    return float(np.abs(pixels(a) - pixels(b)).mean())


def documented_latent() -> list[float]:
    """The 512 numbers of the documentation's own example of registerlatent."""
    text = require(SHARED / "apis" / "original" / "checkface.txt").read_text()
    block = text[text.index('"latent": [ 5,') :]
    return [float(number) for number in block[block.index("[") + 1 : block.index("]")].split(",")]


def test_status(api: httpx.Client) -> None:
    assert api.get("/status/").status_code == api.get("/status").status_code == 200


def test_hashdata_of_the_example_to_the_last_digit(api: httpx.Client) -> None:
    document = get(api, "hashdata", value="example").json()
    assert document["seed"] == 78062172
    assert document["qlatent"][:3] == [0.4221103225421117, -0.31882407908604915, 0.36004541443342347]
    expected = np.random.RandomState(78062172).randn(512)
    assert len(document["qlatent"]) == 512 and document["qlatent"] == expected.tolist()
    assert get(api, "hashdata", seed=78062172).json() == document


@pytest.mark.parametrize("value", ["", "こんにちは 🙂", "a&b=c/d?e#f%", "é" * 5000, "x" * 10_000])
def test_any_text_has_a_latent(api: httpx.Client, value: str) -> None:
    from prosopon.models.generation.latents import latent_of_seed, seed_of

    document = get(api, "hashdata", value=value).json()
    assert document["seed"] == seed_of(value)
    assert document["qlatent"] == latent_of_seed(document["seed"]).numbers.tolist()


def test_no_value_is_the_empty_one(api: httpx.Client) -> None:
    assert get(api, "hashdata").json() == get(api, "hashdata", value="").json()


def test_a_face_is_a_jpg_of_300_pixels(api: httpx.Client) -> None:
    answer = get(api, "face", value="example")
    assert answer.headers["content-type"] == "image/jpeg"
    image = Image.open(io.BytesIO(answer.content))
    assert (image.format, image.size) == ("JPEG", (300, 300))
    assert difference(answer, get(api, "face", value="yeet")) > 10


@pytest.mark.parametrize(("format", "pillow"), [("jpg", "JPEG"), ("webp", "WEBP"), ("png", "PNG")])
def test_formats(api: httpx.Client, format: str, pillow: str) -> None:
    answer = get(api, "face", value="example", dim=50, format=format)
    image = Image.open(io.BytesIO(answer.content))
    assert (image.format, image.size) == (pillow, (50, 50))
    assert answer.headers["content-type"] == f"image/{pillow.lower()}"


@pytest.mark.parametrize("dim", [10, 11, 1024])
def test_every_size(api: httpx.Client, dim: int) -> None:
    answer = get(api, "face", value="example", dim=dim)
    assert Image.open(io.BytesIO(answer.content)).size == (dim, dim)


def test_guid_wins_over_seed_and_seed_over_value(api: httpx.Client) -> None:
    guid = api.post("/api/registerlatent/", json={"latent": [0.5] * 512}).text
    assert get(api, "hashdata", value="a", seed=7).json()["seed"] == 7
    assert get(api, "hashdata", value="a", seed=7, guid=guid).json() == {"qlatent": [0.5] * 512}


def test_the_documented_latent_is_registered_and_used(api: httpx.Client) -> None:
    latent = documented_latent()
    answer = api.post("/api/registerlatent/", json={"latent": latent, "type": "test"})
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer.text)
    assert get(api, "hashdata", guid=answer.text).json() == {"qlatent": latent}
    image = Image.open(io.BytesIO(get(api, "face", guid=answer.text, dim=40).content))
    assert image.size == (40, 40)


def plus_of(api: httpx.Client, value: str) -> list[list[float]]:
    """The styles that a text's face is made of, by way of a mixture that is in w+."""
    zero = api.post("/api/registerlatent/", json={"latent": [[0.0] * 512] * 23}).text
    mixture = {"num_multi": 2, "value0": value, "amount0": 1, "guid1": zero, "amount1": 1}
    styles: list[list[float]] = get(api, "hashdata", **mixture).json()["dlatent"]
    return styles


def test_a_latent_of_styles_gives_the_same_face(api: httpx.Client) -> None:
    styles = plus_of(api, "example")
    assert np.shape(styles) == (23, 512)
    guid = api.post("/api/registerlatent/", json={"latent": styles, "type": "w+"}).text
    assert get(api, "hashdata", guid=guid).json() == {"dlatent": styles}
    by_value, by_guid = (
        get(api, "face", dim=64, format="png", **named) for named in ({"value": "example"}, {"guid": guid})
    )
    assert difference(by_value, by_guid) == 0


def test_mixtures(api: httpx.Client) -> None:
    one, two = (np.array(get(api, "hashdata", value=value).json()["qlatent"]) for value in ("a", "b"))
    even = get(api, "hashdata", num_multi=2, value0="a", value1="b").json()["qlatent"]
    np.testing.assert_allclose(even, (one + two) / 2, atol=1e-15)
    clipped = get(api, "hashdata", num_multi=2, value0="a", amount0=5, value1="b", amount1=-0.5).json()
    np.testing.assert_allclose(clipped["qlatent"], 2 * one - two / 2, atol=1e-15)
    single = get(api, "face", num_multi=1, value0="a", dim=32, format="png")
    assert difference(single, get(api, "face", value="a", dim=32, format="png")) == 0
    sixteen = {f"seed{number}": number for number in range(16)}
    mean = np.mean([np.random.RandomState(number).randn(512) for number in range(16)], axis=0)
    found = get(api, "hashdata", num_multi=16, **sixteen).json()["qlatent"]
    np.testing.assert_allclose(found, mean, atol=1e-14)


@pytest.mark.parametrize("format", ["gif", "webp"])
def test_animations_loop(api: httpx.Client, format: str) -> None:
    answer = get(api, format, **FILM, fps=10)
    assert answer.headers["content-type"] == f"image/{format}"
    image = Image.open(io.BytesIO(answer.content))
    assert (image.size, image.n_frames, image.info["loop"]) == ((64, 64), 8, 0)


def test_an_mp4(api: httpx.Client) -> None:
    answer = get(api, "mp4", **FILM, fps=4)
    assert answer.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(answer.content)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.width, stream.frames) == ("h264", 64, 8)
        assert float(stream.duration * stream.time_base) == pytest.approx(2, abs=0.1)


def test_ends_of_a_film_may_be_of_any_kind(api: httpx.Client) -> None:
    guid = api.post("/api/registerlatent/", json={"latent": plus_of(api, "example")}).text
    answer = get(api, "gif", from_guid=guid, to_seed=5, dim=32, num_frames=4)
    assert Image.open(io.BytesIO(answer.content)).n_frames == 4


def test_morph_frames_follow_the_contract(api: httpx.Client) -> None:
    """A frame is the face of the mixture that the contract's formula names."""
    parameters = {**ENDS, "dim": 32, "num_frames": 8, "format": "png"}
    for linear, number in ((False, 0), (False, 2), (False, 4), (False, 7), (True, 3), (True, 7)):
        amount = Morph.of(8, linear).amounts[Morph.of(8, linear).order[number]]
        frame = get(api, "morphframe", **parameters, frame_num=number, linear=str(linear).lower())
        mixture = {"num_multi": 2, "value0": "example", "amount0": amount}
        mixture |= {"value1": "yeet", "amount1": 1 - amount}
        assert difference(frame, get(api, "face", **mixture, dim=32, format="png")) == 0
    start = get(api, "morphframe", **parameters)
    assert difference(start, get(api, "face", value="example", dim=32, format="png")) == 0


@pytest.mark.parametrize(("width", "height"), [(100, 52), (1200, 628), (1400, 733)])
def test_link_previews_keep_their_proportions(api: httpx.Client, width: int, height: int) -> None:
    answer = get(api, "linkpreview", **ENDS, width=width)
    image = Image.open(io.BytesIO(answer.content))
    assert (image.format, image.size) == ("JPEG", (width, height))


def test_a_page_that_loops_the_film(api: httpx.Client) -> None:
    hostile = '"><script>alert(1)</script>'
    answer = get(api, "mp4", **{**FILM, "from_value": hostile}, embed_html="true")
    assert answer.headers["content-type"].startswith("text/html")
    assert "<script" not in answer.text
    video = re.search(r"<video ([^>]*)>", answer.text)
    assert video and {"loop", "autoplay", "muted", "playsinline"} <= set(video[1].split())
    assert 'width="64" height="64"' in video[1]
    source = re.search(r'src="data:video/mp4;base64,([^"]*)"', video[1])
    assert source, "a page that is saved still has its film"
    assert base64.b64decode(source[1]) == get(api, "mp4", **{**FILM, "from_value": hostile}).content
    again = api.get(answer.url, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["/api/Zo\u00eb", "/api/Zo\u00eb/"])
def test_a_text_alone_is_a_face_of_300_pixels(api: httpx.Client, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == (300, 300)
    assert answer.content == get(api, "face", value="Zo\u00eb").content


@pytest.mark.parametrize("name", ["registerlatent", "recoverlatent"])
def test_a_routes_name_is_no_text(api: httpx.Client, name: str) -> None:
    answer = api.get(f"/api/{name}/")
    assert (
        answer.status_code == 405 and answer.headers["allow"] == "POST" and "POST" in answer.json()["error"]
    )


@pytest.mark.parametrize("path", ["/status", "/status/", "/api/status", "/api/status/"])
def test_the_status_with_and_without_prefix_and_slash(api: httpx.Client, path: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.text) == (200, "ok")


def test_empty_parameters_are_as_if_they_were_not_there(api: httpx.Client) -> None:
    empty = api.get("/api/face/?value=example&seed=&guid=&dim=&format=")
    assert empty.status_code == 200 and empty.content == get(api, "face", value="example").content


def test_a_latent_with_another_generators_layers_says_how_many_are_wanted(api: httpx.Client) -> None:
    answer = api.post("/api/registerlatent/", json={"latent": np.zeros((18, 512)).tolist(), "type": "w"})
    assert (
        answer.status_code == 400 and "18 layers" in answer.json()["error"] and "23" in answer.json()["error"]
    )


def test_the_queue_is_empty_when_nothing_is_made(api: httpx.Client) -> None:
    assert get(api, "queue").json() == {"queue": 0}


def test_the_openapi_document_names_every_route(api: httpx.Client) -> None:
    paths = api.get("/openapi/checkface.json").json()["paths"]
    documented = re.findall(r"^(?:POST )?(/(?:api/\w+|status)/)$", _documentation(), re.MULTILINE)
    assert len(documented) >= 7
    assert set(documented) <= set(paths)


def _documentation() -> str:
    return require(SHARED / "apis" / "original" / "checkface.txt").read_text()


def test_another_process_makes_the_same_bytes(api: httpx.Client) -> None:
    """What the server answers is what a fresh process, with nothing cached, computes."""
    served = get(api, "face", value="prosopon", dim=200, format="png").content
    program = """
import sys
from prosopon.configs.settings import GenerationSettings, ModelSettings
from prosopon.models.generation.face_generator import Faces
from prosopon.models.generation.latents import Part, latent_of_seed, seed_of
from prosopon.models.load import load_generator, load_mapper
from prosopon.models.pictures.encoding import encode_picture
from prosopon.models.runtime.session import Compute
models, compute, psi = ModelSettings(), Compute(), GenerationSettings()
faces = Faces(load_mapper(models, compute), load_generator(models, compute), psi.truncation_psi, psi.truncated_pixels)
(picture,) = faces.pictures([((Part(latent_of_seed(seed_of("prosopon"))),), 200)])
sys.stdout.buffer.write(encode_picture(picture, "png"))
"""
    made = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True)
    assert made.stdout == served
