"""Unknown faces are grouped by who they are, so that each person need be named once."""

import itertools
from pathlib import Path

from tests.conformance.client import new_client
from tests.paths import smiling
from tests.support.in_process import InProcess

PEOPLE = 12


def test_two_pictures_each_of_people_nobody_knows_make_a_group_for_each(
    faces_in_process: InProcess, london: list[Path]
) -> None:
    """The truth is the set's own: who sat for which photograph."""
    client = new_client(faces_in_process, "recognition", "detection")
    pictures = list(itertools.chain(london[:PEOPLE], map(smiling, london[:PEOPLE])))
    embeddings = []
    for path in pictures:
        files, plugin = {"file": (path.name, path.read_bytes())}, {"face_plugins": "calculator", "limit": 1}
        answer = client.post("/detection/detect", files=files, params=plugin).json()
        embeddings.append(answer["result"][0]["embedding"])
    group = "/recognition/embeddings/group"
    groups = client.post(group, json={"embeddings": embeddings}).json()["groups"]
    assert groups == [[person, person + PEOPLE] for person in range(PEOPLE)]

    three = client.post(group, json={"embeddings": [embeddings[0], embeddings[PEOPLE], embeddings[1]]}).json()
    assert three == {"groups": [[0, 1], [2]]}
    assert client.post(group, json={"embeddings": embeddings[:1]}).json() == {"groups": [[0]]}
    everybody = client.post(group, json={"embeddings": embeddings}, params={"threshold": 0}).json()
    assert len(everybody["groups"]) == 1
    assert client.post(group, json={"embeddings": [[1.0, 2.0]]}).status_code == 400
