"""The public index's gallery, and what its faces carry."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosopon.deployments.state.database import Records
from prosopon.deployments.state.galleries.face_archive import ArchivedFace, archive_gallery
from prosopon.deployments.state.schema import MAX_SUBJECT_LENGTH


def test_the_gallery_is_made_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    first, second = Records(url), Records(url)
    assert archive_gallery(first) == archive_gallery(second) == archive_gallery(first)


@given(st.text(), st.one_of(st.none(), st.text()))
def test_a_face_is_the_same_after_json(url: str, group: str | None) -> None:
    face = ArchivedFace(url, group)
    assert ArchivedFace.from_json(face.to_json()) == face


@pytest.mark.parametrize("extra", [None, {}, {"something": "else"}])
def test_a_record_of_another_writer_is_a_face_of_no_known_place(extra: dict[str, object] | None) -> None:
    assert ArchivedFace.from_json(extra) == ArchivedFace("")


def test_faces_of_one_group_belong_together_and_otherwise_those_of_one_url() -> None:
    page = "https://example.org/a"
    assert ArchivedFace(page, "Ann").subject == ArchivedFace("https://example.org/b", "Ann").subject
    assert ArchivedFace(page).subject == ArchivedFace(page).subject == page
    assert ArchivedFace(page, "Ann").subject != ArchivedFace(page).subject
    assert ArchivedFace("x", page).subject != ArchivedFace(page).subject


def test_long_urls_stay_apart() -> None:
    long = "https://example.org/" + "a" * 2000
    one, other = ArchivedFace(long + "1").subject, ArchivedFace(long + "2").subject
    assert one != other and len(one) == len(other) == MAX_SUBJECT_LENGTH
