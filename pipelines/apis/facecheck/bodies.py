"""Bodies of FaceCheck's requests: forms with pictures, and JSON."""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Request

from prosopon.deployments.state.errors import TooManySearchPictures
from prosopon.deployments.state.jobs.searches import MAX_PICTURES
from prosopon.pipelines.apis.facecheck.errors import NoPictures
from prosopon.pipelines.apis.facecheck.wire import SearchData, id_of
from prosopon.pipelines.http.bodies import AN_ID, SMALL, BodyError, documented, read_json_object
from prosopon.pipelines.http.forms import Upload, is_multipart, read_form
from prosopon.pipelines.http.uploads import PICTURE_FILE, check_size
from prosopon.pipelines.services import Served


@dataclass(frozen=True, slots=True)
class Sent:
    """search: None for a new one."""

    search: UUID | None
    pictures: list[Upload]


async def _pictures(request: Request, services: Served) -> Sent:
    if not is_multipart(request):
        raise BodyError("the body must be multipart/form-data with 1 to 3 files named 'images'")
    most = services.settings.images.max_bytes
    # Twice the pictures, so that one that is a little too large is named instead of the whole body.
    form = await read_form(request, 2 * (MAX_PICTURES + 1) * most + SMALL)
    pictures = form.files("images")
    if not pictures:
        raise NoPictures("'images' is missing: upload 1 to 3 pictures.")
    if len(pictures) > MAX_PICTURES:
        raise TooManySearchPictures(f"{len(pictures)} pictures")
    for number, picture in enumerate(pictures, 1):
        check_size(f"picture {number}", picture.data, most)
    search = form.text("id_search")
    return Sent(id_of(search) if search else None, pictures)


async def _search_data(request: Request) -> SearchData:
    """Of any content type, since JSON has many; what the document does not know is left alone."""
    given = await read_json_object(request)
    return SearchData.model_validate({name: given[name] for name in SearchData.model_fields if name in given})


_FORM: dict[str, Any] = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {
                "images": {"type": "array", "items": PICTURE_FILE, "description": "1 to 3 pictures"},
                "id_search": {
                    "type": "string",
                    "description": "of the search that they are added to; left out for a new one",
                    "examples": [AN_ID],
                },
            },
        },
        "encoding": {"images": {"style": "form"}, "id_search": {"style": "form"}},
    }
}
_JSON = {
    kind: {
        "schema": {
            "$ref": "#/components/schemas/SearchData",
            "$defs": {"SearchData": SearchData.model_json_schema()},
        }
    }
    for kind in ("application/json", "text/json", "application/*+json")
}

Pictures = Annotated[Sent, documented(_pictures, _FORM)]
"""The parameter of the route that takes pictures."""
Asked = Annotated[SearchData, documented(_search_data, _JSON)]
"""The parameter of the route that takes a `SearchData`."""
