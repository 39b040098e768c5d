"""What a load balancer is told of a server whose disk is full."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from prosopon.configs.settings import Settings, StateSettings
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.keys import KeyStore
from prosopon.deployments.state.room import full
from prosopon.pipelines.http import health
from prosopon.pipelines.http.keys import Authenticator


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB, made for this."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_is_full_where_nothing_more_can_be_written(small: Path) -> None:
    home = small / "home"
    state = StateSettings(home=home)
    assert not full(state), "the home is made where it does not exist yet"
    (small / "others").write_bytes(bytes(5 << 19))
    assert full(state)
    elsewhere = StateSettings(
        home=home,
        database_url="postgresql://db/prosopon",
        blobs_url="s3://faces",
        vectors_uri="http://milvus:19530",
    )
    assert not full(elsewhere), "nothing is kept on this machine"
    (small / "others").unlink()
    assert not full(state)
    assert list(small.iterdir()) == []


@pytest.mark.anyio
async def test_readiness_tells_of_a_full_disk(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_LOOK_SECONDS", 0.0)
    records = Records(f"sqlite:///{tmp_path / 'records.db'}")
    app = health.create_app(
        Settings(state=StateSettings(home=small)), Authenticator(KeyStore(records)), records
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        assert (await client.get("/readyz")).json() == {"status": "ok"}
        (small / "others").write_bytes(bytes(5 << 19))
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (507, "full")
        assert int(answer.headers["retry-after"]) > 0
        assert (await client.get("/healthz")).status_code == 200, (
            "it lives, and answers what needs no storage"
        )
        (small / "others").unlink()
        assert (await client.get("/readyz")).status_code == 200
