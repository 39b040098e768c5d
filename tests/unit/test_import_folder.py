"""`prosopon import folder`: what of it is enrolled, what is not, and that a second run goes on."""

import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from prosopon.configs.settings import Settings, StateSettings
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.galleries.store import GalleryStore, Query
from prosopon.deployments.state.keys import KeyStore
from prosopon.pipelines.ingestion.enrolling import Enroller, FaceReader, Skipped, Summary, Watch
from prosopon.pipelines.ingestion.people import examples, people_in
from tests.paths import smiling

PEOPLE = 4


class Home:
    """A state without a server, and a key with its gallery."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(state=StateSettings(home=folder))
        self.records = Records(self.settings.state.database)
        self.gallery = KeyStore(self.records).create("test")[0].gallery
        self.skipped: list[Skipped] = []

    def run(self, people: Path, stop_after: int | None = None, biggest: bool = False) -> Summary:
        def progress(summary: Summary) -> None:
            if stop_after is not None and summary.done >= stop_after:
                raise KeyboardInterrupt

        self.skipped = []
        entries = examples(people_in(people), self.records, self.gallery, 1 << 24)
        with Enroller(self.settings, Watch(self.skipped.append, progress), biggest) as enroller:
            enroller.enrol(self.gallery, entries)
            return enroller.summary

    def reasons(self) -> dict[str, str]:
        return {Path(one.place).name: one.reason for one in self.skipped}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    opened = Home(tmp_path / "home")
    yield opened
    opened.records.close()


@pytest.fixture
def people(tmp_path: Path, london: list[Path]) -> Path:
    """Folders of people with a picture each, named by the file's beginning."""
    folder = tmp_path / "people"
    for picture in london[:PEOPLE]:
        (folder / picture.stem).mkdir(parents=True)
        shutil.copy(picture, folder / picture.stem / picture.name)
    return folder


def test_people_are_recognised_by_other_pictures(home: Home, people: Path, london: list[Path]) -> None:
    assert home.run(people).enrolled == PEOPLE
    reader = FaceReader(home.settings)
    store = GalleryStore(home.settings.state, reader.fingerprint, reader.dim)
    try:
        for person in london[:PEOPLE]:
            _, embedding = reader.read(smiling(person).read_bytes())
            assert embedding is not None
            ((best, *_),) = store.search([Query(home.gallery, embedding, 2)])
            assert not isinstance(best, Exception) and best.subject == person.stem
            blob = store.image(home.gallery, best.image_id)
            assert blob is not None and blob.data == person.read_bytes()
    finally:
        store.close()


def test_every_file_that_is_left_out_has_its_reason(
    home: Home, people: Path, london: list[Path], group_picture: Path
) -> None:
    first, second = (people / picture.stem for picture in london[:2])
    shutil.copy(group_picture, first / "group.jpg")
    (first / "cut.jpg").write_bytes(london[0].read_bytes()[:2000])
    (first / "notes.txt").write_text("hers")
    (first / "@eaDir").mkdir()
    shutil.copy(london[0], first / "@eaDir" / "small.jpg")
    (first / ".hidden").mkdir()
    shutil.copy(london[0], first / ".hidden" / "secret.jpg")
    shutil.copy(london[0], first / "copy.jpg")
    shutil.copy(london[0], second / "other.jpg")
    shutil.copy(london[0], people / "stray.jpg")
    summary = home.run(people)
    assert home.reasons() == {
        "group.jpg": "several_faces",
        "cut.jpg": "corrupt",
        "notes.txt": "other_format",
        "small.jpg": "thumbnail",
        "secret.jpg": "hidden",
        "copy.jpg": "copy",
        "other.jpg": "somebody_else",
        "stray.jpg": "outside",
    }
    assert (summary.enrolled, summary.done, summary.faultless) == (PEOPLE, PEOPLE + 8, False)
    assert home.run(people, biggest=True).enrolled == 1, "the group's biggest face"


def test_a_run_that_was_stopped_goes_on_and_nothing_is_enrolled_twice(
    home: Home, people: Path, london: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosopon.pipelines.ingestion.enrolling._AT_ONCE", 2)
    with pytest.raises(KeyboardInterrupt):
        home.run(people, stop_after=2)
    summary = home.run(people)
    assert (summary.known, summary.enrolled) == (2, PEOPLE - 2)
    last = home.run(people)
    assert (last.known, last.enrolled, last.faultless) == (PEOPLE, 0, True)


def test_a_renamed_person_keeps_the_name(home: Home, people: Path, london: list[Path]) -> None:
    home.run(people)
    reader = FaceReader(home.settings)
    store = GalleryStore(home.settings.state, reader.fingerprint, reader.dim)
    store.rename_subject(home.gallery, london[0].stem, "Ann")
    store.close()
    assert home.run(people).enrolled == 0
    assert home.reasons() == {london[0].name: "somebody_else"} and "'Ann'" in home.skipped[0].detail


def test_names_are_in_one_form_and_links_are_followed_once(tmp_path: Path) -> None:
    person = tmp_path / unicodedata.normalize("NFD", "Zoë")
    (person / "2024").mkdir(parents=True)
    (person / "2024" / "a.jpg").write_bytes(b"")
    (person / "again").symlink_to(person / "2024")
    (person / "loop").symlink_to(person)
    assert people_in(tmp_path) == [("Zoë", person / "2024" / "a.jpg")]
