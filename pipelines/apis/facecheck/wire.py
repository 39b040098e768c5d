"""FaceCheck's wire types, as its OpenAPI document has them."""

import base64
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import unquote
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr
from pydantic.json_schema import SkipJsonSchema
from starlette.responses import JSONResponse

from prosopon.deployments.state.jobs.searches import Search
from prosopon.pipelines.graphs.face_search import Found
from prosopon.pipelines.graphs.searches import Finished, Report
from prosopon.pipelines.http.bodies import AN_ID, BodyError
from prosopon.pipelines.words import counted

MAX_INT32 = 2**31 - 1
_NOBODYS = UUID(int=0)
Int32 = Annotated[int, Field(json_schema_extra={"format": "int32"})]
Int64 = Annotated[int, Field(json_schema_extra={"format": "int64"})]
Double = Annotated[float, Field(json_schema_extra={"format": "double"})]


class _Exact(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SearchData(_Exact):
    id_search: Annotated[
        StrictStr | None, Field(description="of a search with pictures", examples=[AN_ID])
    ] = None
    with_progress: Annotated[
        StrictBool | None,
        Field(description="answer at once; otherwise when the search is done", examples=[True]),
    ] = None
    id_captcha: Annotated[StrictStr | None, Field(description="not used", examples=[None])] = None
    status_only: Annotated[StrictBool | None, Field(description="start nothing", examples=[False])] = None
    demo: Annotated[
        StrictBool | None, Field(description="search the first 100,000 faces only", examples=[False])
    ] = None


class InputImage(_Exact):
    """An uploaded picture."""

    base64: Annotated[str | None, Field(description="the face that is looked for, webp, as a data URI")] = (
        None
    )
    id_pic: Annotated[str | None, Field(description="for delete_pic")] = None
    url_source: Annotated[str | None, Field(description="not used")] = None
    svg_anim: Annotated[str | None, Field(description="not used")] = None


class SearchItem(_Exact):
    """A face that was found."""

    guid: Annotated[str | None, Field(description="the face's id")] = None
    score: Annotated[Int32, Field(description="0 to 100")]
    group: Annotated[Int32, Field(description="the same for faces of one person or page")]
    base64: Annotated[str | None, Field(description="its thumbnail, webp, as a data URI")] = None
    url: Annotated[str | None, Field(description="of the page, or a file's name")] = None
    index: Annotated[Int32, Field(description="its place among the items")]
    indexDB: Annotated[Int64, Field(description="its place in the index")]


class Search_Results(_Exact):
    """What was found."""

    demo: Annotated[bool | None, Field(description="whether of the first faces only")] = None
    items: Annotated[list[SearchItem] | None, Field(description="best first")] = None
    max_score: Annotated[
        Int32,
        Field(json_schema_extra={"format": "int32", "readOnly": True}, description="of the best, 0 to 100"),
    ] = 0
    searchedFaces: Annotated[Int32 | None, Field(description="how many faces were looked at")] = None
    tookSeconds: Annotated[Double | None, Field(description="from when the search was paid")] = None
    tookSecondsQueue: Annotated[Double | None, Field(description="until it began")] = None
    tookSecondsDownload: Annotated[Double | None, Field(description="for the thumbnails")] = None
    freeRam: Annotated[Double | None, Field(description="not told")] = None
    face_per_sec: Annotated[
        Int32 | None, Field(json_schema_extra={"readOnly": True}, description="faces looked at in a second")
    ] = None
    performance: Annotated[
        str | None, Field(json_schema_extra={"readOnly": True}, description="the same, for people")
    ] = None
    images_in_bundle: Annotated[Int32, Field(description="pictures in the probe")] = 0


class BrowserJsonResponse(_Exact):
    """The answer of every call but info."""

    id_search: Annotated[str | None, Field(description="of the search")] = None
    message: Annotated[str | None, Field(description="what is going on, for people")] = None
    progress: Annotated[Int32 | None, Field(description="0 to 100")] = None
    error: Annotated[str | None, Field(description="what went wrong, for people")] = None
    code: Annotated[str | None, Field(description="what went wrong, for programs")] = None
    input: Annotated[list[InputImage] | None, Field(description="the pictures of the search")] = None
    output: Annotated[Search_Results | SkipJsonSchema[None], Field(description="what was found")] = None


class WithoutNullOutput(JSONResponse):
    """Where the settings say so, an output that is absent is left out of the answer instead of null."""

    def render(self, content: dict[str, Any]) -> bytes:
        return super().render(
            {name: value for name, value in content.items() if (name, value) != ("output", None)}
        )


class InfoResponse(_Exact):
    faces: Annotated[Int32 | None, Field(description="in the index")] = None
    is_online: Annotated[bool, Field(description="whether the index answers")]
    remaining_credits: Annotated[
        Int32, Field(description="of the key; the largest number there is for one without limit")
    ]
    has_credits_to_search: Annotated[bool, Field(description="whether they are enough for a search")]


def results_of(
    found: Found, demo: bool, pictures: int, queued_seconds: float, show_files: bool
) -> Search_Results:
    """pictures: in the probe. queued_seconds: from when the search was paid to when it began. show_files: with their
    folders."""
    items = [
        SearchItem(
            guid=str(hit.id),
            score=hit.score,
            group=hit.group,
            base64=data_uri(hit.thumbnail),
            url=hit.url if show_files else _without_folders(hit.url),
            index=index,
            indexDB=hit.number,
        )
        for index, hit in enumerate(found.hits)
    ]
    rate = round(found.searched / max(found.match_seconds, 1e-6))
    return Search_Results(
        demo=demo,
        items=items,
        max_score=max((item.score for item in items), default=0),
        searchedFaces=min(found.searched, MAX_INT32),
        tookSeconds=round(found.seconds + queued_seconds, 4),
        tookSecondsQueue=round(queued_seconds, 4),
        tookSecondsDownload=round(found.collect_seconds, 4),
        face_per_sec=min(rate, MAX_INT32),
        performance=f"{counted(found.searched, 'face')} in {found.match_seconds:.3f} s",
        images_in_bundle=pictures,
    )


def _without_folders(url: str | None) -> str | None:
    """A file's name in place of its URL; others as they are."""
    if url is None or not url.lower().startswith("file:"):
        return url
    return unquote(url.rpartition("/")[2])


def message_of(found: Found, pictures: int = 1, strangers: Sequence[int] = ()) -> str:
    """What came of a search, for people. strangers: numbers of the pictures that are unlike the others."""
    if not found.searched:
        message = "The search is done: nothing was found, for the index is empty."
    elif not found.hits:
        message = f"The search is done: no similar face was found among {counted(found.searched, 'face')}."
    else:
        message = "The search is done."
    if not strangers:
        return message
    if len(strangers) == pictures:
        return f"{message} The pictures show different people: a search is for one person."
    numbers = " and ".join(map(str, strangers))
    plural = len(strangers) > 1
    unlike = f"Pictures {numbers} are" if plural else f"Picture {numbers} is"
    return (
        f"{message} {unlike} unlike the others: remove {'them' if plural else 'it'} if it is another person."
    )


def reporter(show_files: bool) -> Report:
    """How a search that is done is told. show_files: as for `results_of`."""

    def report(done: Finished) -> tuple[bytes, str]:
        results = results_of(done.found, done.demo, done.pictures, done.queued_seconds, show_files)
        message = message_of(done.found, done.pictures, done.strangers)
        return results.model_dump_json().encode(), message

    return report


def described(
    search: Search, message: str, progress: int | None = None, output: Search_Results | None = None
) -> BrowserJsonResponse:
    """The answer about a search that there is."""
    pictures = [
        InputImage(id_pic=str(picture.id), base64=data_uri(picture.preview)) for picture in search.pictures
    ]
    return BrowserJsonResponse(
        id_search=str(search.id), message=message, progress=progress, input=pictures, output=output
    )


def pictures_of(search: Search) -> str:
    return f"The search has {counted(len(search.pictures), 'picture')}."


def id_of(text: str | None) -> UUID:
    """Ids are opaque to clients: what could not be one is one that does not exist."""
    if not text:
        raise BodyError("id_search is missing.")
    try:
        return UUID(text)
    except ValueError:
        return _NOBODYS


def data_uri(webp: bytes | None) -> str | None:
    return None if webp is None else f"data:image/webp;base64,{base64.b64encode(webp).decode()}"
