"""The pipelines of the running server from Python: what HTTP answers, without HTTP."""

import asyncio
import io
import stat
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from prosopon.models.faces.attributes.age import AGE
from prosopon.models.faces.attributes.embedding import EMBEDDING
from prosopon.models.faces.attributes.landmarks import POSE
from prosopon.models.generation.latents import Latent, Part, latent_of_seed
from prosopon.pipelines.python.handles import (
    Answer,
    Closed,
    ImageError,
    LatentError,
    NoFace,
    NoSwap,
    NotRunning,
    Picture,
    Prosopon,
    SeveralFaces,
    StateError,
)
from tests.benchmarks.serving import Server
from tests.conformance.client import Client, new_key
from tests.paths import smiling


@pytest.fixture(scope="module")
def prosopon(server: Server) -> Iterator[Prosopon]:
    with Prosopon.connect(home=server.home, max_in_flight=4) as running:
        yield running


def test_a_picture_is_what_the_http_api_says(prosopon: Prosopon, server: Server, group_picture: Path) -> None:
    picture = prosopon.detect(group_picture, {"age", "pose"}).result()
    client = Client(httpx.Client(base_url=server.url, timeout=60), new_key(server, "detection"))
    answer = client.post(
        "/detection/detect", params={"face_plugins": "age,pose"}, files={"file": group_picture.open("rb")}
    ).json()["result"]
    assert len(picture.faces) == len(answer) == 6
    for face, wire in zip(picture.faces, answer, strict=True):
        age, pose = face[AGE], face[POSE]
        assert EMBEDDING not in face and face["age"] is age
        assert (age.low, age.high) == (wire["age"]["low"], wire["age"]["high"])
        assert pose.yaw == pytest.approx(wire["pose"]["yaw"], abs=1e-3)
        assert face.score == pytest.approx(wire["box"]["probability"], abs=1e-5)


def test_people_are_enrolled_recognised_renamed_and_deleted(prosopon: Prosopon, london: list[Path]) -> None:
    people = prosopon.gallery(f"test-{uuid.uuid4()}")
    assert people.recognise(london[0]).result()[0].candidates == ()
    records = list(prosopon.each(lambda path: people.enrol(path.stem, path), london[:6]))
    assert sorted(people.subjects().result()) == [path.stem for path in london[:6]]
    for path, faces in zip(london, prosopon.each(people.recognise, london[:6]), strict=False):
        assert faces[0].candidates[0].subject == path.stem
        assert faces[0].candidates[0].similarity > 0.99
    stored = people.image(records[0].image_id).result()
    assert stored is not None and stored.data == london[0].read_bytes()
    people.rename(london[0].stem, "Ann").result()
    (probe,) = prosopon.embeddings(london[0]).result()
    assert people.search(probe, count=2).result()[0].subject == "Ann"
    assert people.delete_subject("Ann").result() == 1
    assert people.faces().result().total == 5
    assert people.clear().result() == 5 and people.subjects().result() == []


def test_a_key_and_a_handle_share_a_gallery(prosopon: Prosopon, server: Server, london: list[Path]) -> None:
    key = new_key(server, "recognition")
    client = Client(httpx.Client(base_url=server.url, timeout=60), key)
    client.post("/recognition/faces", params={"subject": "Bo"}, files={"file": london[0].open("rb")})
    assert prosopon.gallery(key=key).subjects().result() == ["Bo"]
    with pytest.raises(StateError, match="unknown or revoked"):
        prosopon.gallery(key=str(uuid.uuid4())).subjects().result()


def test_two_pictures_are_verified(prosopon: Prosopon, london: list[Path], group_picture: Path) -> None:
    same = prosopon.verify(london[0], smiling(london[0])).result()
    other = prosopon.verify(london[0], group_picture).result()
    assert same.targets[0].similarity > 0.5
    assert len(other.targets) == 6 and all(face.similarity < 0.5 for face in other.targets)
    with pytest.raises(SeveralFaces):
        prosopon.verify(group_picture, london[0]).result()


def test_faces_of_texts_are_those_of_the_http_api(prosopon: Prosopon, server: Server) -> None:
    made = prosopon.generate("example", dim=100).result()
    assert made == httpx.get(f"{server.url}/api/face/?value=example&dim=100", timeout=60).content
    film = prosopon.morph("example", "yeet", format="webp", dim=64, frames=4).result()
    with Image.open(io.BytesIO(film)) as frames:
        assert (frames.size, frames.n_frames) == ((64, 64), 4)


def test_a_face_is_swapped_at_once(prosopon: Prosopon, london: list[Path], group_picture: Path) -> None:
    if not prosopon.settings.serves("aifaceswap"):
        pytest.skip("the default settings do not serve aifaceswap")
    swapped = prosopon.swap(group_picture, [london[0], london[1]], [0, 3]).result()
    with Image.open(io.BytesIO(swapped)) as after, Image.open(group_picture) as before:
        assert after.size == before.size
        changed = np.any(np.asarray(after.convert("RGB")) != np.asarray(before.convert("RGB")), axis=2)
    assert 0.005 < changed.mean() < 0.5
    with pytest.raises(NoSwap, match="index 9 is out of range"):
        prosopon.swap(group_picture, [london[0]], [9]).result()


def test_the_public_index_is_searched(
    prosopon: Prosopon, server: Server, london: list[Path], tmp_path: Path
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    for path in london[90:93]:
        (album / path.name).write_bytes(path.read_bytes())
    config = str(server.home / "serve_config.yaml")
    command = [sys.executable, "-m", "prosopon.pipelines.cli", "ingest", str(album), "--config", config]
    subprocess.run(command, check=True, capture_output=True)
    best, *others = prosopon.search(london[91], smiling(london[91])).result()
    assert best.url and best.url.endswith(london[91].name)
    assert best.score >= 90 and best.thumbnail and best.thumbnail[8:12] == b"WEBP"
    assert all(hit.score < best.score for hit in others)


def test_styles_mix_and_are_registered(prosopon: Prosopon) -> None:
    coarse, fine = (prosopon.styles(text).result() for text in ("example", "yeet"))
    mixed = Latent(np.concatenate([coarse[:8], fine[8:]]).astype(np.float64))
    registered = prosopon.register(mixed).result()
    one = prosopon.pixels(registered, dim=64).result()
    assert one.shape == (64, 64, 3)
    np.testing.assert_array_equal(one, prosopon.pixels(mixed, dim=64).result())
    assert np.any(one != prosopon.pixels("example", dim=64).result())
    halves = (Part(latent_of_seed(1), 0.5), Part(latent_of_seed(2), 0.5))
    assert prosopon.pixels(halves, dim=64).result().shape == (64, 64, 3)
    assert prosopon.forget(registered).result() and not prosopon.forget(registered).result()
    with pytest.raises(LatentError, match="registered"):
        prosopon.generate(registered).result()


@pytest.mark.slow
def test_a_photograph_becomes_a_latent(prosopon: Prosopon, london: list[Path]) -> None:
    inversion = prosopon.invert(london[0]).result()
    assert inversion.aligned
    assert prosopon.pixels(inversion.latent, dim=64).result().shape == (64, 64, 3)
    assert prosopon.invert(london[0]).result() == inversion, "the same photograph has the same latent"


def test_answers_are_awaited_in_any_loop(prosopon: Prosopon, london: list[Path]) -> None:
    async def both() -> list[Picture]:
        return list(await asyncio.gather(*(prosopon.detect(path) for path in london[:2])))

    assert [len(picture.faces) for picture in asyncio.run(both())] == [1, 1]
    assert [len(picture.faces) for picture in asyncio.run(both())] == [1, 1]


def test_a_batch_takes_its_items_as_they_are_needed(prosopon: Prosopon, london: list[Path]) -> None:
    data, under_way, most, guard = london[0].read_bytes(), 0, 0, threading.Lock()

    def items() -> Iterator[bytes]:
        nonlocal under_way, most
        for _ in range(12):
            with guard:
                under_way += 1
                most = max(most, under_way)
            yield data

    def detect(image: bytes) -> Answer[Picture]:
        return prosopon.detect(image)

    for picture in prosopon.each(detect, items(), ahead=3):
        with guard:
            under_way -= 1
        assert len(picture.faces) == 1
    assert most == 3


def test_errors_are_the_pipelines_own(prosopon: Prosopon, group_picture: Path) -> None:
    with pytest.raises(ImageError):
        prosopon.detect(b"not a picture").result()
    with pytest.raises(SeveralFaces):
        prosopon.gallery("errors").enrol("six", group_picture).result()
    grey = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(grey, "png")
    with pytest.raises(NoFace):
        prosopon.gallery("errors").enrol("nobody", grey.getvalue()).result()
    assert prosopon.gallery("errors").subjects().result() == []
    with pytest.raises(FileNotFoundError):
        prosopon.detect(Path("no such file.jpg")).result()


def test_pixels_are_taken_as_they_are(prosopon: Prosopon, london: list[Path]) -> None:
    with Image.open(london[0]) as opened:
        picture = opened.convert("RGB")
    (of_file,) = prosopon.embeddings(str(london[0])).result()
    for given in (picture, np.asarray(picture)):
        (embedding,) = prosopon.embeddings(given).result()
        assert embedding @ of_file > 0.999
    with london[0].open("rb") as file:
        np.testing.assert_array_equal(prosopon.embeddings(file).result()[0], of_file)


def test_a_closed_connection_raises_at_once_and_another_can_be_made(
    server: Server, london: list[Path]
) -> None:
    closed = Prosopon.connect(home=server.home)
    people = closed.gallery("closed")
    assert repr(closed).startswith("<Prosopon, open: compreface,") and repr(people) == "<Gallery 'closed'>"
    closed.close()
    assert repr(closed).startswith("<Prosopon, closed:")
    for call in (lambda: closed.detect(london[0]), people.subjects, lambda: closed.generate("example")):
        with pytest.raises(Closed):
            call()
    with Prosopon.connect(home=server.home) as again:
        assert len(again.detect(london[0]).result().faces) == 1


def test_what_a_shell_completes_is_the_api_alone(prosopon: Prosopon) -> None:
    methods = "connect close each detect embeddings similarities verify search gallery generate pixels morph"
    assert set(dir(prosopon)) == {*f"{methods} styles register forget invert swap".split(), "settings"}


def test_only_the_owner_of_the_home_can_join(server: Server) -> None:
    assert stat.S_IMODE((server.home / "ray-token").stat().st_mode) == 0o600


def test_an_application_that_is_not_there_is_said_so(prosopon: Prosopon, tmp_path: Path) -> None:
    with pytest.raises(NotRunning):
        Prosopon.connect(application="another")


def test_nobody_is_joined_where_nobody_serves(tmp_path: Path) -> None:
    code = "from pathlib import Path; from prosopon import Prosopon; Prosopon.connect(home=Path('.'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode and "NotRunning: no server is running" in done.stderr
