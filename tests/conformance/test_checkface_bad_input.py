"""CheckFace and wrong input: numbers fall back to their defaults, everything else is an error that says why."""

import io
import json
import math
import uuid
from collections.abc import Iterator

import av
import httpx
import pytest
from PIL import Image

from tests.conformance.checkface_client import error_of
from tests.support.in_process import OverHttp

LATENT = [0.1] * 512


@pytest.fixture(scope="module")
def api(makers_in_process: OverHttp) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=makers_in_process.url, timeout=120) as client:
        yield client


@pytest.mark.parametrize("dim", ["9", "1025", "-1", "0", "abc", "", "1e9", "50.5", "9" * 100, "NaN", "٥٠٠٠"])
def test_a_size_out_of_range_is_the_default(api: httpx.Client, dim: str) -> None:
    answer = api.get("/api/face/", params={"value": "example", "dim": dim})
    assert answer.status_code == 200
    assert Image.open(io.BytesIO(answer.content)).size == (300, 300)


@pytest.mark.parametrize("format", ["bmp", "", "JPG", "jpeg", "../x"])
def test_an_unknown_format_is_the_default(api: httpx.Client, format: str) -> None:
    answer = api.get("/api/face/", params={"value": "example", "format": format})
    assert answer.headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize("width", ["99", "1401", "wide"])
def test_a_width_out_of_range_is_the_default(api: httpx.Client, width: str) -> None:
    answer = api.get("/api/linkpreview/", params={"from_value": "a", "to_value": "b", "width": width})
    assert Image.open(io.BytesIO(answer.content)).size == (1200, 628)


def test_film_numbers_out_of_range_are_the_defaults(api: httpx.Client) -> None:
    asked = {"from_value": "a", "to_value": "b", "dim": 16}
    wrong = {"fps": 101, "num_frames": 201, "kbitrate": 99}
    default = {"fps": 16, "num_frames": 50, "kbitrate": 2400}
    answer = api.get("/api/mp4/", params=asked | wrong)
    with av.open(io.BytesIO(answer.content)) as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.average_rate) == (50, 16)
    assert api.head("/api/mp4/", params=asked | default).headers["etag"] == answer.headers["etag"]


@pytest.mark.parametrize("number", ["-1", "8", "200", "x"])
def test_a_frame_out_of_range_is_the_first(api: httpx.Client, number: str) -> None:
    asked = {"from_value": "a", "to_value": "b", "dim": 16, "num_frames": 8}
    first = api.head("/api/morphframe/", params=asked).headers["etag"]
    assert api.head("/api/morphframe/", params={**asked, "frame_num": number}).headers["etag"] == first


@pytest.mark.parametrize("count", ["0", "17", "-3", "many"])
def test_a_number_of_parts_out_of_range_is_no_mixture(api: httpx.Client, count: str) -> None:
    answer = api.get("/api/hashdata/", params={"value": "example", "num_multi": count})
    assert answer.json()["seed"] == 78062172


@pytest.mark.parametrize("amount", ["nan", "lots", ""])
def test_an_amount_that_is_none_is_an_even_share(api: httpx.Client, amount: str) -> None:
    asked = {"num_multi": 2, "value0": "a", "value1": "b"}
    even = api.get("/api/hashdata/", params=asked).json()
    assert api.get("/api/hashdata/", params={**asked, "amount0": amount}).json() == even


def test_an_infinite_amount_is_clipped(api: httpx.Client) -> None:
    asked = {"num_multi": 1, "value0": "a"}
    clipped = api.get("/api/hashdata/", params={**asked, "amount0": "2"}).json()
    assert api.get("/api/hashdata/", params={**asked, "amount0": "inf"}).json() == clipped


@pytest.mark.parametrize("seed", ["abc", "1.5", "1e3", "-1", str(2**32), "9" * 5000, "0x10", "null"])
@pytest.mark.parametrize("path", ["/api/face/", "/api/hashdata/"])
def test_a_bad_seed_is_an_error(api: httpx.Client, path: str, seed: str) -> None:
    assert "seed" in error_of(api.get(path, params={"seed": seed}), 400)


@pytest.mark.parametrize("path", ["gif", "webp", "mp4", "morphframe", "linkpreview"])
def test_bad_ends_of_films_are_errors(api: httpx.Client, path: str) -> None:
    assert "to_seed" in error_of(api.get(f"/api/{path}/", params={"to_seed": "x"}), 400)
    error_of(api.get(f"/api/{path}/", params={"from_guid": "x"}), 400)
    error_of(api.get(f"/api/{path}/", params={"from_guid": str(uuid.uuid4())}), 404)
    error_of(api.get("/api/mp4/", params={"to_seed": "x", "embed_html": "true"}), 400)


@pytest.mark.parametrize("guid", ["not-a-guid", "1234", "../../etc/passwd", "g" * 36])
def test_a_malformed_guid_is_an_error(api: httpx.Client, guid: str) -> None:
    assert "guid" in error_of(api.get("/api/face/", params={"guid": guid}), 400)


@pytest.mark.parametrize("query", ["seed=&guid=", "value=&seed", "guid"])
def test_an_empty_parameter_is_none(api: httpx.Client, query: str) -> None:
    assert api.get(f"/api/hashdata/?{query}").json() == api.get("/api/hashdata/").json()


def test_an_unknown_guid_is_not_found(api: httpx.Client) -> None:
    guid = str(uuid.uuid4())
    assert guid in error_of(api.get("/api/face/", params={"guid": guid}), 404)
    assert guid in error_of(api.get("/api/hashdata/", params={"num_multi": 1, "guid0": guid}), 404)


@pytest.mark.parametrize(
    "latent",
    [
        [], [0.1] * 511, [0.1] * 513, [LATENT] * 22, [LATENT] * 24, [[LATENT]], "text", 5, None, {"x": 1},
        [*LATENT[:-1], 1e30], [*LATENT[:-1], -1e30], [*LATENT[:-1], None], [*LATENT[:-1], "1"],
        [*LATENT[:-1], math.nan], [*LATENT[:-1], math.inf], [LATENT, LATENT[:-1]], [True] * 512,
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_latent_is_refused(api: httpx.Client, latent: object) -> None:
    body = json.dumps({"latent": latent, "type": "test"})
    error_of(api.post("/api/registerlatent/", content=body), 400)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b"\xff", b'"latent"', b'{"type": "test"}'])
def test_a_body_that_is_no_latent_is_refused(api: httpx.Client, body: bytes) -> None:
    error_of(api.post("/api/registerlatent/", content=body), 400)


def test_a_type_must_be_text(api: httpx.Client) -> None:
    assert "type" in error_of(api.post("/api/registerlatent/", json={"latent": LATENT, "type": 5}), 400)
    assert api.post("/api/registerlatent/", json={"latent": LATENT, "type": None}).status_code == 200


def test_a_huge_body_is_refused(api: httpx.Client) -> None:
    body = b'{"latent": [' + b"1.0," * 1_000_000 + b"1.0]}"
    error_of(api.post("/api/registerlatent/", content=body), 413)


def test_extreme_latents_still_make_a_picture(api: httpx.Client) -> None:
    for latent in ([1000.0] * 512, [0.0] * 512, [[1000.0] * 512] * 23, [[-1000.0] * 512] * 23):
        guid = api.post("/api/registerlatent/", json={"latent": latent}).text
        answer = api.get("/api/face/", params={"guid": guid, "dim": 16})
        assert answer.status_code == 200
        assert Image.open(io.BytesIO(answer.content)).size == (16, 16)


def test_other_paths_and_methods(api: httpx.Client) -> None:
    error_of(api.post("/api/face/"), 405)
    error_of(api.get("/api/registerlatent/"), 405)
    error_of(api.get("/api/face/nothing"), 404)


def test_unknown_parameters_are_ignored(api: httpx.Client) -> None:
    answer = api.get("/api/hashdata/", params={"value": "example", "colour": "red"})
    assert answer.json()["seed"] == 78062172
