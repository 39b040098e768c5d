"""Small galleries are searched where requests are: what a client is told of is found, and what it deletes is not."""

import time
from pathlib import Path

import pytest

from prosopon.deployments.state.galleries.copies import Copies
from tests.conformance.client import new_key
from tests.support.in_process import InProcess


def test_a_client_reads_its_own_writes(
    faces_in_process: InProcess, london: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    search = Copies.search

    def watched(copies: Copies, *queries: object) -> object:
        answers.append(found := search(copies, *queries))  # type: ignore[arg-type]
        return found

    monkeypatch.setattr(Copies, "search", watched)
    with faces_in_process.connect() as client:
        client.headers["x-api-key"] = new_key(faces_in_process, "recognition")

        def recognised(path: Path) -> list[str]:
            answer = client.post(
                "/api/v1/recognition/recognize", files={"file": ("a.jpg", path.read_bytes())}
            ).json()
            return [one["subject"] for one in answer["result"][0]["subjects"]]

        def left_alone(path: Path) -> None:
            """Until the gallery is searched here."""
            ends = time.monotonic() + 30
            while time.monotonic() < ends:
                recognised(path)
                if answers[-1] is not None:
                    return
            pytest.fail("the gallery is never copied")

        left_alone(london[0])
        for number, path in enumerate(london[:3]):
            params = {"subject": f"person {number}"}
            url = "/api/v1/recognition/faces"
            assert client.post(url, params=params, files={"file": ("a.jpg", path.read_bytes())}).is_success
            assert recognised(path) == [f"person {number}"]
            left_alone(path)
            assert recognised(path) == [f"person {number}"]
        url = "/api/v1/recognition/subjects/person 0"
        assert client.put(url, json={"subject": "Bea"}).is_success
        assert recognised(london[0]) == ["Bea"]
        left_alone(london[0])
        assert client.delete("/api/v1/recognition/subjects/Bea").is_success
        assert "Bea" not in recognised(london[0])
