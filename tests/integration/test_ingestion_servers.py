"""`prosopon ingest` where the state lies on servers: PostgreSQL, and what stands for a Milvus server."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.galleries.face_archive import archive_gallery
from prosopon.deployments.state.galleries.faces import Query
from prosopon.deployments.state.galleries.store import GalleryStore
from tests.benchmarks.embeddings import embedder
from tests.integration.test_ingestion import ingest, with_settings
from tests.integration.test_milvus_server import uri
from tests.integration.test_postgres import server, url
from tests.weights import default_embedder

__all__ = ["server", "uri", "url"]  # fixtures

pytestmark = pytest.mark.slow


def test_records_and_index_on_servers_agree_and_are_searched(
    tmp_path: Path, london: list[Path], group_picture: Path, url: str, uri: str
) -> None:
    home, folder = tmp_path / "home", tmp_path / "pictures"
    folder.mkdir()
    for picture in (*london[:4], group_picture):
        shutil.copy(picture, folder)
    state = {"home": str(home), "database_url": url, "vectors_uri": uri}
    config = with_settings(home, {"state": state, "ingestion": {"batch": 2}})

    def run() -> dict[str, list[bytes]]:
        """After an ingestion the embeddings by subject, each of which the index finds."""
        ended = ingest(home, folder, "--config", str(config))
        assert ended.status == 0, ended.output
        settings = StateSettings.model_validate(state)
        model = embedder(default_embedder())
        store = GalleryStore(settings, model.fingerprint, model.dim)
        try:
            gallery = archive_gallery(store.records)
            query = sa.select(schema.faces.c.image_id, schema.faces.c.embedding, schema.subjects.c.name).join(
                schema.subjects, schema.subjects.c.id == schema.faces.c.subject_id
            )
            with store.records.read() as db:
                rows = db.execute(query).all()
            assert (store.repaired.faces, store.repaired.added, store.repaired.removed) == (len(rows), 0, 0)
            probes = [np.frombuffer(row.embedding, "<f4") for row in rows]
            found = store.search([Query(gallery, probe, 1, "face") for probe in probes])
            assert [matches[0].image_id for matches in found] == [row.image_id for row in rows]  # type: ignore[union-attr]
        finally:
            store.close()
        faces: dict[str, list[bytes]] = {}
        for row in sorted(rows, key=lambda row: row.embedding):
            faces.setdefault(row.name.rsplit("/", 1)[-1], []).append(row.embedding)
        return faces

    faces = run()
    assert {name: len(each) for name, each in faces.items()} == {
        **{portrait.name: 1 for portrait in london[:4]},
        group_picture.name: 6,
    }
    assert run() == faces
    shutil.copy(london[5], folder / group_picture.name)
    changed = run()
    assert len(changed.pop(group_picture.name)) == 1
    assert changed.items() <= faces.items()
