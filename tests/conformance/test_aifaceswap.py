"""aifaceswap as documented: its Python examples as they stand, and what they get."""

import ast
import contextlib
import io
import re
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import requests
import schemathesis
from PIL import Image
from typer.testing import CliRunner

from prosopon.pipelines.cli import app
from tests.benchmarks.serving import Server
from tests.conformance import openapi
from tests.conformance.aifaceswap_client import BASE, Swapper, new_swapper
from tests.loopback import Loopback
from tests.paths import SHARED, require
from tests.support.films import heard, moved, mp4, shown

HOOK = "http:xxxx.xx/api/task_callback"


@pytest.fixture
def client(server: Server) -> Swapper:
    return new_swapper(server, 1000)


def examples() -> list[str]:
    """The document's Python programs: one for each of the three calls, both methods in each."""
    text = require(SHARED / "apis" / "original" / "aifaceswap.txt").read_text()
    return re.findall(r"^import requests$.*?(?=^\{$)", text, re.MULTILINE | re.DOTALL)


def run(program: str, server: Server, client: Swapper, web: Loopback, folder: Path) -> list[dict[str, Any]]:
    """What the program prints. Only what everybody has to put in is put in: the base URL, the key, the pictures' URLs
    and files."""
    program = program.replace("https://aifaceswap.io", server.url).replace(
        '"Bearer xxxx"', f'"Bearer {client.key}"'
    )
    several = "multi_faceswap" in program or "extract_face" in program
    pictures = iter(["/group", "/face1", "/face2"] if several else ["/face0", "/face1"])
    files = iter(["/group", "/face1", "/face2"] if several else ["/face0", "/face1"])
    program = re.sub(r'https://[^"]*\.webp', lambda _: web.url + next(pictures), program)

    def local(match: re.Match[str]) -> str:
        path = folder / Path(match[1].replace("\\", "/")).name
        path.write_bytes(web.pictures[next(files)])
        return f'"{path}"'

    program = re.sub(r'r"(C:[^"]*)"', local, program)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "example.py", "exec"), {"requests": requests})
    return [ast.literal_eval(line) for line in printed.getvalue().splitlines()]


def test_the_document_has_three_programs() -> None:
    assert [program.count("requests.post") for program in examples()] == [2, 2, 2]


@pytest.mark.parametrize(("number", "points"), [(0, 2), (2, 5)], ids=["faceswap", "multi_faceswap"])
def test_the_documented_swaps_are_made_and_reported(
    number: int, points: int, server: Server, client: Swapper, web: Loopback, tmp_path: Path
) -> None:
    hook = f"/callback{number}"
    program = examples()[number].replace(HOOK, web.url + hook)
    answers = run(program, server, client, web, tmp_path)
    assert len(answers) == 2
    for answer in answers:
        assert set(answer) == {"code", "data", "message"}
        assert (answer["code"], answer["message"]) == (200, "OK")
        assert set(answer["data"]) == {"task_id", "points"}
        assert re.fullmatch(r"[0-9a-f]{32}", answer["data"]["task_id"])
        assert answer["data"]["points"] == points
    assert client.points() == 1000 - 2 * points
    calls = {call.document["task_id"]: call for call in web.wait_for(hook, 2)}
    for answer in answers:
        call = calls[answer["data"]["task_id"]]
        assert call.is_signed_with(client.secret)
        assert call.document["success"] == 1, call.document
        assert call.document["type"] == (1 if number == 0 else 2)
        assert set(call.document) == {"success", "type", "task_id", "result_image"}
        result = httpx.get(call.document["result_image"])
        assert result.status_code == 200
        assert result.headers["content-type"] == "image/png"
        source = Image.open(io.BytesIO(web.pictures["/group" if number else "/face0"]))
        assert Image.open(io.BytesIO(result.content)).size == source.size


def test_the_documented_extraction(server: Server, client: Swapper, web: Loopback, tmp_path: Path) -> None:
    by_url, by_file = run(examples()[1], server, client, web, tmp_path)
    assert by_url == by_file
    assert set(by_url) == {"code", "data", "message"}
    assert by_url["data"]["points"] == 2
    faces = by_url["data"]["faces"]
    assert len(faces) == 6
    assert all(isinstance(value, int) for face in faces for value in face)
    assert all(x1 < x2 and y1 < y2 for x1, y1, x2, y2 in faces)
    assert faces == sorted(faces), "from left to right, as in the document's example"
    assert client.points() == 1000 - 4


def test_the_programs_run_even_with_the_documents_own_webhook(
    server: Server, client: Swapper, web: Loopback, tmp_path: Path
) -> None:
    for answer in run(examples()[0], server, client, web, tmp_path):
        assert client.wait(answer["data"]["task_id"])["success"] == 1


@pytest.mark.parametrize("spelling", ["list", "repeated", "brackets", "commas", "json"])
def test_index_in_every_spelling_of_clients(
    spelling: str, client: Swapper, web: Loopback, group_picture: Path
) -> None:
    url = {"source_image": web.url + "/group", "face_image": [web.url + "/face1", web.url + "/face2"]}
    if spelling == "list":
        task_id = client.accepted("multi_faceswap", json={**url, "index": [4, 1]})
    else:
        index: dict[str, Any] = {
            "repeated": {"index": ["4", "1"]},
            "brackets": {"index[]": ["4", "1"]},
            "commas": {"index": "4,1"},
            "json": {"index": "[4, 1]"},
        }[spelling]
        files = [("source_image", group_picture.read_bytes())]
        files += [("face_image", web.pictures[f"/face{number}"]) for number in (1, 2)]
        task_id = client.accepted("multi_faceswap", data=index, files=files)
    task = client.wait(task_id)
    assert task["success"] == 1, task
    assert (task["type"], task["points"], task["status"]) == (2, 5, "succeeded")


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_a_film_keeps_its_times_and_its_sound_and_costs_by_its_length(
    client: Swapper, web: Loopback, london: list[Path]
) -> None:
    """Sent as a file it is charged at once; from elsewhere, where it was fetched; over the bound it is refused."""
    scene = np.asarray(Image.open(london[0]).convert("RGB").resize((256, 256)))
    moments = [0, 100, 250, 400, 800, 1200]
    film = mp4(moved(scene, len(moments)), moments, sound=True)
    found = client.post("extract_face", files={"img": film}).json()["data"]
    assert len(found["faces"]) == 1
    sent = client.post("faceswap", files={"source_image": film, "face_image": web.pictures["/face3"]})
    assert sent.json()["data"]["points"] == 2 + 2 * 2, "two seconds have begun"
    by_url = {"source_image": web.add("/film", film), "face_image": [web.url + "/face3"], "index": [0]}
    answer = client.post("multi_faceswap", json=by_url).json()["data"]
    assert answer["points"] == 3
    for task_id, points in ((sent.json()["data"]["task_id"], 6), (answer["task_id"], 7)):
        task = client.wait(task_id)
        assert (task["success"], task["progress"], task["points"]) == (1, 1, points), task
        result = httpx.get(task["result_image"])
        assert result.headers["content-type"] == "video/mp4"
        assert shown(result.content)[1] == pytest.approx(shown(film)[1])
        assert heard(result.content) == heard(film)
    assert client.points() == 1000 - 2 - 6 - 7
    long = mp4([scene, scene], [0, 20_000])
    refused = client.post("faceswap", files={"source_image": long, "face_image": web.pictures["/face3"]})
    assert (refused.status_code, client.points()) == (400, 985)
    assert "source_image: The film is 40.0 s long; at most 15 s are accepted." in refused.json()["message"]


def test_index_counts_the_faces_of_extract_face_and_the_rest_stays_as_it_was(
    client: Swapper, web: Loopback, group_picture: Path
) -> None:
    source = group_picture.read_bytes()
    faces = client.post("extract_face", files={"img": source}).json()["data"]["faces"]
    for index in (0, 3):
        task_id = client.accepted(
            "multi_faceswap",
            data={"index": index},
            files={"source_image": source, "face_image": web.pictures["/face3"]},
        )
        result = httpx.get(client.wait(task_id)["result_image"]).content
        changed = (pixels(result) != pixels(source)).any(axis=2)
        x1, y1, x2, y2 = faces[index]
        margin = x2 - x1
        rows, columns = np.nonzero(changed)
        assert changed[y1:y2, x1:x2].mean() > 0.3
        assert x1 - margin < columns.min() and columns.max() < x2 + margin
        assert y1 - margin < rows.min() and rows.max() < y2 + margin


def test_files_and_urls_can_be_mixed(client: Swapper, web: Loopback) -> None:
    task_id = client.accepted(
        "faceswap", data={"source_image": web.url + "/face0"}, files={"face_image": web.pictures["/face1"]}
    )
    assert client.wait(task_id)["success"] == 1


def test_a_result_can_be_changed_further(client: Swapper, web: Loopback) -> None:
    """ "If source_image or face_image is not a URL on the server, provide the complete URL": these need not be."""
    first = client.accepted(
        "faceswap", json={"source_image": web.url + "/face0", "face_image": web.url + "/face1"}
    )
    url = client.wait(first)["result_image"]
    for again in (url, urlsplit(url).path):
        second = client.accepted("faceswap", json={"source_image": again, "face_image": web.url + "/face2"})
        assert client.wait(second)["success"] == 1
    missing = client.post("faceswap", json={"source_image": url[:-9], "face_image": web.url + "/face2"})
    assert missing.status_code == 400
    assert "source_image" in missing.json()["message"]


def test_a_task_tells_its_status_to_its_tenant_alone(server: Server, client: Swapper, web: Loopback) -> None:
    task_id = client.accepted(
        "faceswap", json={"source_image": web.url + "/face0", "face_image": web.url + "/face1"}
    )
    assert client.task(task_id)["status"] in ("waiting", "running", "succeeded")
    task = client.wait(task_id)
    assert {"status", "success", "result_image", "message", "created", "finished"} <= set(task)
    assert datetime.fromisoformat(task["created"]) < datetime.fromisoformat(task["finished"])
    for unknown in ("0" * 32, "nonsense", "%00"):
        answer = client.http.get(f"{BASE}/task/{unknown}")
        assert (answer.status_code, answer.json()["code"]) == (404, 404)


def test_results_need_no_key_and_cannot_be_guessed(client: Swapper, web: Loopback) -> None:
    task_id = client.accepted(
        "faceswap", json={"source_image": web.url + "/face0", "face_image": web.url + "/face1"}
    )
    url = client.wait(task_id)["result_image"]
    answer = httpx.get(url)
    assert answer.status_code == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert httpx.get(url, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert httpx.head(url).status_code == 200
    name = url.rsplit("/", 1)[1]
    assert len(name) >= 43
    for other in (name[:-5], "x" + name, "../../../etc/passwd", ""):
        missing = httpx.get(url.removesuffix(name) + other)
        assert missing.status_code == 404


def test_the_command_line_shows_tasks_and_the_secret_of_webhooks(
    server: Server, client: Swapper, web: Loopback
) -> None:
    task_id = client.accepted(
        "faceswap",
        json={
            "source_image": web.url + "/face0",
            "face_image": web.url + "/face1",
            "webhook": web.url + "/hook-cli",
        },
    )
    client.wait(task_id)
    web.wait_for("/hook-cli")
    time.sleep(0.5)
    config = ["--config", str(server.home / "serve_config.yaml")]

    def prosopon(*arguments: str) -> str:
        ended = CliRunner().invoke(app, [*arguments, *config])
        assert ended.exit_code == 0, ended.output
        return ended.output

    command = [
        sys.executable,
        "-m",
        "prosopon.pipelines.cli",
        "tasks",
        "list",
        "--state",
        "succeeded",
        *config,
    ]
    assert task_id in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shown = prosopon("tasks", "show", task_id)
    assert "succeeded" in shown
    assert "1 attempts: delivered" in shown
    import base64

    secret = prosopon("keys", "webhook-secret", str(client.key_id)).strip()
    assert base64.b64decode(secret.removeprefix("whsec_")) == client.secret


def test_no_secret_of_a_result_is_logged(server: Server, client: Swapper, web: Loopback) -> None:
    task_id = client.accepted(
        "faceswap", json={"source_image": web.url + "/face0", "face_image": web.url + "/face1"}
    )
    url = client.wait(task_id)["result_image"]
    httpx.get(url)
    assert url.rsplit("/", 1)[1] not in server.log.read_text()


@pytest.fixture(scope="module")
def schema(server: Server) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{server.url}/openapi/aifaceswap.json")


@pytest.mark.parametrize("operation", ["faceswap", "multi_faceswap", "extract_face"])
def test_random_requests_get_documented_answers(
    schema: schemathesis.BaseSchema, operation: str, server: Server
) -> None:
    client = new_swapper(server, 0)  # Nobody fetches made-up URLs for a key without points.
    openapi.check(schema, f"POST {BASE}/{operation}", {"Authorization": f"Bearer {client.key}"}, examples=25)
