"""A backup is a home that serves what was there, also while the original goes on."""

from pathlib import Path

import pytest

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state.backup import back_up
from prosopon.deployments.state.errors import StateError
from tests.conformance.client import Client, new_key, part
from tests.paths import smiling
from tests.support.in_process import InProcess, in_process

ARGS = {"apis": ["compreface"]}


def subjects_on(served: InProcess, key: str, picture: Path) -> list[str]:
    answer = Client(served.connect(), key).post("/recognition/recognize", files={"file": part(picture)})
    return [subject["subject"] for subject in answer.json()["result"][0]["subjects"]]


def test_a_backup_of_a_running_server_is_restored(tmp_path: Path, london: list[Path]) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    with in_process(home, ARGS) as served:
        client = Client(served.connect(), new_key(served, "recognition"))
        images = {name: client.enrol(name, london[index]) for index, name in enumerate(("Ada", "Grace"))}
        first = back_up(StateSettings(home=home), copy)
        client.enrol("Later", london[2])
        client.delete(f"/recognition/faces/{images['Grace']}")
        second = back_up(StateSettings(home=home), copy)
        client.enrol("Too late", london[3])
        key = client.key
    assert (first.images, second.images) == (2, 1), "what is there is not copied again"
    with in_process(copy, ARGS) as restored:
        client = Client(restored.connect(), key)
        assert client.get("/recognition/subjects").json() == {"subjects": ["Ada", "Later"]}
        image = client.get(f"/recognition/faces/{images['Ada']}/img")
        assert image.content == london[0].read_bytes()
        assert subjects_on(restored, key, smiling(london[0])) == ["Ada"]


def test_what_is_on_servers_is_not_copied(tmp_path: Path) -> None:
    state = StateSettings(home=tmp_path, database_url="postgresql://db/prosopon")
    with pytest.raises(StateError, match="pg_dump"):
        back_up(state, tmp_path / "copy")


def test_a_home_is_no_backup_of_itself(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="nothing to back up"):
        back_up(StateSettings(home=tmp_path), tmp_path)
