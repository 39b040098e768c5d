"""What a bulk ingestion reads: folders, globs, manifests and lists, each with lines that are none."""

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prosopon.pipelines.ingestion.folders import LeftOut
from prosopon.pipelines.ingestion.sources import Item, Malformed, SourceError, first, read_source

PAGE = "https://example.org/page"
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "url": st.sampled_from(["", PAGE, "http://example.org/ü?a=1,2"]),
            "path": st.sampled_from(["", "a.jpg", "ordner/ä,b.png", "/abs/x.webp"]),
            "group": texts.filter(lambda text: not set(text) & {"\n", "\r"}),
        }
    ),
    max_size=8,
)
anew = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def expected(row: dict[str, str], folder: Path) -> Item | None:
    """None: malformed."""
    group = row["group"].strip() or None
    if row["path"]:
        file = folder / row["path"]
        return Item(str(file), row["url"] or file.as_uri(), group)
    return Item(row["url"], row["url"], group) if row["url"] else None


def check(path: Path, entries: list[dict[str, str]]) -> None:
    found = list(read_source(str(path)))
    assert len(found) == len(entries)
    for entry, row in zip(found, entries, strict=True):
        wanted = expected(row, path.parent)
        assert entry == wanted if wanted else isinstance(entry, Malformed)


@anew
@given(rows)
def test_a_csv_manifest_says_what_was_written(tmp_path: Path, entries: list[dict[str, str]]) -> None:
    path = tmp_path / "manifest.csv"
    text = io.StringIO()
    writer = csv.DictWriter(text, ["url", "path", "group"], lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(entries)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    check(path, entries)


@anew
@given(rows)
def test_so_do_json_lines(tmp_path: Path, entries: list[dict[str, str]]) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    check(path, entries)


@anew
@given(rows)
def test_and_parquet(tmp_path: Path, entries: list[dict[str, str]]) -> None:
    path = tmp_path / "manifest.parquet"
    schema = pa.schema([(name, pa.string()) for name in ("url", "path", "group")])
    pq.write_table(pa.Table.from_pylist(entries, schema), path)
    check(path, entries)


@anew
@given(st.binary(max_size=300), st.sampled_from([".csv", ".jsonl", ".txt", ".parquet"]))
def test_whatever_bytes_a_manifest_has_it_is_read_or_refused(
    tmp_path: Path, data: bytes, suffix: str
) -> None:
    path = tmp_path / f"manifest{suffix}"
    path.write_bytes(b"url,path\n" + data if suffix == ".csv" else data)
    try:
        entries = list(read_source(str(path)))
    except SourceError:
        return
    for entry in entries:
        assert isinstance(entry, Malformed) or (entry.location + entry.url).encode()


def test_a_line_that_is_none_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    lines = [
        b"\xef\xbb\xbfURL,Path,group,note",
        b'https://example.org/1,a.jpg,"Ann, the first",x',
        b'https://example.org/2,"b.jpg,never closed,x',
        b"https://example.org/3,c.jpg",
        b"",
        b"ftp://example.org/4,,,",
        b",,Ann,",
        b"https://example.org/\xff,d.jpg,,",
        b"https://example.org/" + b"x" * 3000 + b",e.jpg,,",
        b"," + b"y" * 100_000 + b",,",
        b"https://example.org/5,,,last",
    ]
    path.write_bytes(b"\r\n".join(lines))
    found = list(read_source(str(path)))
    assert [entry for entry in found if isinstance(entry, Item)] == [
        Item(str(tmp_path / "a.jpg"), "https://example.org/1", "Ann, the first"),
        Item("https://example.org/5", "https://example.org/5"),
    ]
    bad = {entry.place.rpartition(":")[2]: entry.detail for entry in found if isinstance(entry, Malformed)}
    assert sorted(map(int, bad)) == [3, 4, 6, 7, 8, 9, 10]
    assert "2 fields under a header of 4" in bad["4"] and "UTF-8" in bad["8"]


def test_json_lines_need_objects_of_text(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text(
        '{"path": "a.jpg", "group": 7}\n[1]\n{"path": ["a"]}\n{"url": "\\ud800"}\n{"path"\n' + "[" * 9000
    )
    found = list(read_source(str(path)))
    assert found[0] == Item(str(tmp_path / "a.jpg"), (tmp_path / "a.jpg").as_uri(), "7")
    assert all(isinstance(entry, Malformed) for entry in found[1:]) and len(found) == 6


def test_folders_globs_and_single_pictures(tmp_path: Path) -> None:
    for name in ("Ann/1.jpg", "Ann/2.PNG", "Bob/3.webp", "Bob/notes.txt", "[x]/4.jpg"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"")

    def names(source: Path, groups: bool = False) -> list[tuple[str, str | None]]:
        return [
            (Path(entry.location).name, entry.group)
            for entry in read_source(str(source), groups)
            if isinstance(entry, Item)
        ]

    assert names(tmp_path, True) == [("1.jpg", "Ann"), ("2.PNG", "Ann"), ("3.webp", "Bob"), ("4.jpg", "[x]")]
    assert names(tmp_path / "*" / "*.jpg") == [("1.jpg", None), ("4.jpg", None)]
    assert names(tmp_path / "[x]") == names(tmp_path / "[x]" / "4.jpg") == [("4.jpg", None)]
    assert list(read_source(str(tmp_path / "Ann" / "1.jpg"))) == [
        Item(str(tmp_path / "Ann" / "1.jpg"), (tmp_path / "Ann" / "1.jpg").as_uri())
    ]


def test_what_is_left_out_of_a_folder_has_its_reason(tmp_path: Path) -> None:
    left = {
        ".secret.jpg": "hidden",
        ".cache/a.jpg": "hidden",
        "@eaDir/a.jpg/SYNOPHOTO_THUMB.jpg": "thumbnail",
        "Thumbnails/a.webp": "thumbnail",
        "notes.txt": "other_format",
        "clip.mp4": "other_format",
    }
    taken = ["IMG_1.HEIC", "b.avif", "c.jfif"]
    for name in (*left, *taken):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    found = list(read_source(str(tmp_path)))
    reasons = {str(one.path.relative_to(tmp_path)): one.reason for one in found if isinstance(one, LeftOut)}
    assert reasons == left
    assert [Path(one.location).name for one in found if isinstance(one, Item)] == taken
    globbed = list(read_source(str(tmp_path / "**" / "*")))
    assert {one.reason for one in globbed if isinstance(one, LeftOut)} == {"thumbnail", "other_format"}
    limited = list(first(read_source(str(tmp_path)), 1))
    assert [Path(one.location).name for one in limited if isinstance(one, Item)] == taken[:1]


def test_a_folder_of_two_names_is_one(tmp_path: Path) -> None:
    (tmp_path / "Ann").mkdir()
    (tmp_path / "Ann" / "1.jpg").write_bytes(b"")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "Ann")
    assert list(read_source(str(link))) == list(read_source(str(tmp_path / "Ann")))
    assert len(list(read_source(str(tmp_path)))) == 1
    manifest = tmp_path / "manifest.txt"
    manifest.with_suffix(".csv").write_text("path\nlink/1.jpg\nAnn/1.jpg\n")
    one, other = read_source(str(manifest.with_suffix(".csv")))
    assert one == other


@pytest.mark.parametrize(
    "name", ["nothing.csv", "empty", "empty/*.jpg", "manifest.docx", "columns.csv", "twice.csv"]
)
def test_a_source_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "manifest.docx").write_text("x")
    (tmp_path / "columns.csv").write_text("adress,file\na,b\n")
    (tmp_path / "twice.csv").write_text("url,url\na,b\n")
    with pytest.raises(SourceError):
        list(read_source(str(tmp_path / name)))
