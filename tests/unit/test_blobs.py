"""Blobs: kept once under their hash, counted, and really deleted."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob, BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import BlobCorrupt, BlobMissing, StorageFault, StorageFull


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(f"sqlite:///{tmp_path / 'records.db'}")


@pytest.fixture
def store(records: Records, tmp_path: Path) -> BlobStore:
    return BlobStore(records, f"file://{tmp_path / 'blobs'}")


def put(store: BlobStore, records: Records, blob: Blob, count: int = 1) -> str:
    store.stage({blob.sha256: blob})
    with records.write() as db:
        store.reference(db, {blob.sha256: count}, {blob.sha256: blob})
    return blob.sha256


def release(store: BlobStore, records: Records, *hashes: str) -> int:
    with records.write() as db:
        released = store.release(db, hashes)
    return store.sweep(released)


def test_what_is_written_is_read(store: BlobStore, records: Records) -> None:
    for data in (b"", b"\0" * 10, bytes(range(256)) * 1000):
        assert store.read(put(store, records, Blob(data, "image/png"))) == data


def test_a_blob_goes_with_its_last_reference(store: BlobStore, records: Records) -> None:
    sha256 = put(store, records, Blob(b"face"), 2)
    put(store, records, Blob(b"face"))
    assert release(store, records, sha256, sha256) == 0
    assert store.read(sha256) == b"face"
    assert release(store, records, sha256) == 1
    assert store.files() == set()
    with pytest.raises(BlobMissing):
        store.read(sha256)
    with records.read() as db:
        assert db.execute(sa.select(schema.blobs)).all() == []


def test_a_crash_between_staging_and_the_record_leaves_nothing_behind(store: BlobStore) -> None:
    blob = Blob(b"never referenced")
    store.stage({blob.sha256: blob})
    assert store.files() == {blob.sha256}
    assert store.sweep() == 1
    assert store.files() == set()


def test_a_blob_swept_after_staging_is_written_again_with_its_record(
    store: BlobStore, records: Records
) -> None:
    blob = Blob(b"face")
    store.stage({blob.sha256: blob})
    store.sweep()
    with records.write() as db:
        store.reference(db, {blob.sha256: 1}, {blob.sha256: blob})
    assert store.read(blob.sha256) == b"face"


def test_a_rolled_back_reference_does_not_keep_a_blob(store: BlobStore, records: Records) -> None:
    blob = Blob(b"face")
    store.stage({blob.sha256: blob})
    with pytest.raises(RuntimeError), records.write() as db:
        store.reference(db, {blob.sha256: 1}, {blob.sha256: blob})
        raise RuntimeError
    assert store.sweep() == 1


def test_references_cannot_fall_below_zero(store: BlobStore, records: Records) -> None:
    sha256 = put(store, records, Blob(b"face"))
    with pytest.raises(sa.exc.IntegrityError):
        release(store, records, sha256, sha256)
    assert store.read(sha256) == b"face"


def test_a_changed_file_is_noticed(store: BlobStore, records: Records, tmp_path: Path) -> None:
    sha256 = put(store, records, Blob(b"face"))
    (file,) = (path for path in (tmp_path / "blobs").rglob("*") if path.is_file())
    file.write_bytes(b"fake")
    with pytest.raises(BlobCorrupt):
        store.read(sha256)


@pytest.mark.parametrize("name", ["../records.db", "", "A" * 64, "0" * 63, "0" * 64 + "/x"])
def test_only_hashes_are_names(store: BlobStore, name: str) -> None:
    with pytest.raises(BlobMissing):
        store.read(name)


def test_half_written_files_of_a_killed_process_are_removed(store: BlobStore, tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    folder = tmp_path / "blobs" / ".tmp"
    folder.mkdir(parents=True)
    abandoned = folder / f"{socket.gethostname()}.{dead.pid}.aa"
    in_use = folder / f"{socket.gethostname()}.{os.getpid()}.bb"
    for file in (abandoned, in_use):
        file.write_bytes(b"half")
    store.sweep()
    assert list(folder.iterdir()) == [in_use]


def test_files_are_spread_over_folders_and_no_temporary_file_stays(
    store: BlobStore, records: Records, tmp_path: Path
) -> None:
    hashes = {put(store, records, Blob(bytes([i]))) for i in range(20)}
    files = {
        path.relative_to(tmp_path / "blobs") for path in (tmp_path / "blobs").rglob("*") if path.is_file()
    }
    assert files == {Path(sha256[:2], sha256[2:4], sha256) for sha256 in hashes} and store.files() == hashes


@pytest.mark.parametrize("damage", [b"", b"fa", b"fake", None])
def test_a_damaged_file_heals_when_its_picture_comes_again(
    store: BlobStore, records: Records, tmp_path: Path, damage: bytes | None
) -> None:
    sha256 = put(store, records, Blob(b"face"))
    (file,) = (path for path in (tmp_path / "blobs").rglob("*") if path.is_file())
    file.unlink() if damage is None else file.write_bytes(damage)
    with pytest.raises(StorageFault):
        store.read(sha256)
    assert put(store, records, Blob(b"face")) == sha256
    assert store.read(sha256) == b"face"


def test_a_full_disk_is_told_and_nothing_stands_in_the_records(records: Records, tmp_path: Path) -> None:
    """A file system of 64 kB, made for this."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        small = BlobStore(records, f"file://{folder}")
        blob = Blob(os.urandom(1 << 20))
        with pytest.raises(StorageFull):
            small.stage({blob.sha256: blob})
        small.sweep()
        assert small.files() == set() and not any((folder / ".tmp").iterdir())
        fits = put(small, records, Blob(b"face"))
        assert small.read(fits) == b"face"
        small.close()
    finally:
        subprocess.run(["umount", str(folder)], check=True)
