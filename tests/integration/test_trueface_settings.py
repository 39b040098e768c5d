"""Trueface under other settings than the laptop's: with what is committed alone, and with two identifiers."""

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from prosopon.configs.settings import ModelSettings, Settings
from prosopon.pipelines.commands.serve import prepare
from tests.benchmarks.serving import Server
from tests.conformance.trueface_client import TruefaceClient, b64, new_trueface_client
from tests.paths import smiling
from tests.support.in_process import InProcess, Served, in_process

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """With the weights that the other server has, but for MiniFASNet; no source can be reached."""
    directory = tmp_path_factory.mktemp("models")
    for folder in ModelSettings().directory.iterdir():
        if folder.name != "minifasnet":
            (directory / folder.name).symlink_to(folder)
    home = tmp_path_factory.mktemp("home")
    args: dict[str, Any] = {"apis": ["trueface"], "models": {"directory": str(directory), "mirror": None}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALL_PROXY", "http://127.0.0.1:9")  # HTTPS_PROXY would stop gRPC as well
        prepare(Settings.model_validate({**args, "state": {"home": str(home)}}))
        with in_process(home, args) as running:
            yield running


def client_of(server: Served) -> TruefaceClient:
    return new_trueface_client(server, tenant=f"tenant-{uuid.uuid4()}")


def test_spoof_detection_works_with_what_is_committed(committed: InProcess, london: list[Path]) -> None:
    client = client_of(committed)
    for answer in (
        client.post_picture("/spdetect", london[0]),
        client.post("/spdetect", {"img": b64(london[0])}),
    ):
        assert answer.status_code == 200 and answer.json()["data"]["class"] == "real"
        assert answer.headers["X-Liveness-Model"] == "prosopon-liveness"


def test_everything_else_works(committed: InProcess, london: list[Path]) -> None:
    client = client_of(committed)
    assert len(client.post_picture("/facedetect", london[0]).json()["data"]["faces"]) == 1
    enrollment = client.enroll(london[0], name="Ann")
    matched = client.post("/match", {"img": b64(smiling(london[0])), "id": enrollment}).json()["data"]
    assert matched["emb0_match"] is True
    collection = client.collection(enrollment)
    client.wait_for_classifier(collection)
    assert client.identify(smiling(london[0]), collection).json()["data"]["name"] == "Ann"


def test_two_identifiers_agree_while_a_collection_is_trained_again_and_again(
    server: Server, london: list[Path]
) -> None:
    """Who has been identified once is identified ever after, by whichever replica answers."""
    client = client_of(server)
    people = [client.enroll(picture) for picture in london[:4]]
    collection = client.collection(people[0])
    client.wait_for_classifier(collection)
    stop, wrong = threading.Event(), list[object]()

    def identify_the_first() -> None:
        own = new_trueface_client_like(client)
        while not stop.is_set():
            answer = own.identify(smiling(london[0]), collection)
            if answer.status_code != 200 or answer.json()["data"]["key"] != people[0]:
                wrong.append(answer.text)

    threads = [threading.Thread(target=identify_the_first) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for person, picture in list(zip(people, london, strict=False))[1:]:
            serving_now = client.described(collection)["classifier_url"]
            client.put("/collection", {"enrollment_id": person, "collection_id": collection})
            client.wait_for_classifier(collection, other_than=serving_now)
            answers = {client.identify(smiling(picture), collection).text for _ in range(6)}
            assert len(answers) == 1, "both replicas give the same answer"
            assert person in answers.pop()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def new_trueface_client_like(client: TruefaceClient) -> TruefaceClient:
    return TruefaceClient(httpx.Client(base_url=client.http.base_url, timeout=60), client.key)
