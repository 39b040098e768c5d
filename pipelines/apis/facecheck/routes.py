"""The FaceCheck API: who on the web has this face. Routes; the wire types are in `facecheck_wire`.

Contract: the service's own OpenAPI document, which describes one status, 200: what goes wrong is said by ``error`` and
``code``, except where HTTP itself has a word for it (401, 413, 503).
"""

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.security import APIKeyHeader
from starlette.datastructures import UploadFile

from prosopon.deployments.state.errors import SearchNotFound, SearchPictureNotFound
from prosopon.deployments.state.jobs.searches import MAX_PICTURES, Search
from prosopon.deployments.state.keys import Key
from prosopon.pipelines.apis.facecheck.errors import TRANSLATED, Code, FaceCheckError, translate
from prosopon.pipelines.apis.facecheck.wire import (
    MAX_INT32,
    BrowserJsonResponse,
    InfoResponse,
    InputImage,
    SearchData,
    data_uri,
)
from prosopon.pipelines.graphs.face_search import counted
from prosopon.pipelines.http.application import INTERNAL, api_app
from prosopon.pipelines.http.uploads import (
    OVERHEAD,
    BodyError,
    Upload,
    check_size,
    is_multipart,
    read_form,
    read_json,
)

if TYPE_CHECKING:
    from prosopon.pipelines.services import Services


# ------------------------------------------------------------------------------------------------------- request


def _search_id(text: object) -> UUID:
    """Ids are opaque to clients: what could not be one is one that does not exist."""
    if not isinstance(text, str) or not text:
        raise FaceCheckError(Code.REQUEST, "id_search is missing.")
    try:
        return UUID(text)
    except ValueError:
        raise SearchNotFound(text[:64]) from None


async def _search_data(request: Request) -> SearchData:
    """Of any content type, since JSON has many; what the document does not know is left alone."""
    document = await read_json(request, OVERHEAD)
    if not isinstance(document, dict):
        raise BodyError("the body must be a JSON object")
    known = {name: value for name, value in document.items() if name in SearchData.model_fields}
    return SearchData.model_validate(known)


async def _uploads(request: Request, max_bytes: int) -> tuple[UUID | None, list[Upload]]:
    """The form's id_search, if there is one, and its pictures. Raises `BodyError` and `FaceCheckError`."""
    if not is_multipart(request):
        raise BodyError("the body must be multipart/form-data with 1 to 3 files named 'images'")
    # Twice the pictures, so that one that is a little too large is named instead of the whole body.
    form = await read_form(request, 2 * (MAX_PICTURES + 1) * max_bytes + OVERHEAD)
    given = form.get("id_search")
    search = _search_id(given) if given else None
    parts = form.getlist("images")
    if not parts:
        raise FaceCheckError(Code.NO_PICTURE, "'images' is missing: upload 1 to 3 pictures.")
    if len(parts) > MAX_PICTURES:
        raise FaceCheckError(
            Code.TOO_MANY_PICTURES, f"A search takes at most {MAX_PICTURES} pictures; {len(parts)} were sent."
        )
    uploads = []
    for number, part in enumerate(parts, 1):
        if not isinstance(part, UploadFile):
            raise FaceCheckError(Code.BAD_PICTURE, f"picture {number} is not a file.")
        data = await part.read()
        check_size(f"picture {number}", data, max_bytes)
        uploads.append(Upload(data, part.filename or None))
    return search, uploads


_MULTIPART = {
    "requestBody": {
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "images": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "id_search": {"type": "string"},
                    },
                },
                "encoding": {"images": {"style": "form"}, "id_search": {"style": "form"}},
            }
        }
    }
}
_SEARCH_DATA = {
    "requestBody": {
        "content": {
            kind: {"schema": {"$ref": "#/components/schemas/SearchData"}}
            for kind in ("application/json", "text/json", "application/*+json")
        }
    }
}

# -------------------------------------------------------------------------------------------------------- answers


def _described(search: Search, message: str | None = None) -> BrowserJsonResponse:
    pictures = [
        InputImage(id_pic=str(picture.id), base64=data_uri(picture.preview)) for picture in search.pictures
    ]
    return BrowserJsonResponse(id_search=str(search.id), message=message, input=pictures)


def _pictures_of(search: Search) -> str:
    return f"The search has {counted(len(search.pictures), 'picture')}."


# --------------------------------------------------------------------------------------------------------- routes


def create_app(services: "Services") -> FastAPI:
    """The API's application. Its OpenAPI document is at ``/openapi/facecheck.json``."""
    searches, settings = services.searches, services.settings
    null_output = settings.facecheck.null_output

    app = api_app(
        "facecheck",
        "FaceCheck API",
        "v1.02",
        expected=(FaceCheckError, *TRANSLATED),
        answer=lambda error: translate(error).response(null_output),
        bug=FaceCheckError(Code.FAILED, INTERNAL, 500),
    )
    header = APIKeyHeader(name="Authorization", scheme_name="Bearer", auto_error=False)

    async def authorized(given: Annotated[str | None, Depends(header)]) -> Key:
        scheme, _, token = (given or "").strip().rpartition(" ")
        key = await services.keys.find(token) if token and scheme.strip().lower() in ("", "bearer") else None
        if key is None:
            raise FaceCheckError(Code.TOKEN, "Authorization is missing or is no token.", 401)
        if not key.allows("facecheck"):
            raise FaceCheckError(Code.TOKEN, "This token is not for FaceCheck.", 401)
        return key

    Caller = Annotated[Key, Depends(authorized)]
    documented: dict[str, Any] = {"tags": ["FaceCheckAPI"], "response_model": BrowserJsonResponse}

    @app.post("/api/upload_pic", **documented, openapi_extra=_MULTIPART)
    async def upload_pic(request: Request, caller: Caller) -> Response:
        """Upload 1 to 3 pictures of a person, for a new search or one that is there."""
        search, uploads = await _uploads(request, settings.images.max_bytes)
        uploaded = await searches.upload(caller.tenant, search, uploads)
        message = " ".join([_pictures_of(uploaded.search), *uploaded.notes])
        return _described(uploaded.search, message).response(null_output=null_output)

    @app.post("/api/search", **documented, openapi_extra=_SEARCH_DATA)
    async def search(request: Request, caller: Caller) -> Response:
        """Search by the uploaded pictures; asked again, say how far it is and at last what was found."""
        asked = await _search_data(request)
        wanted = _search_id(asked.id_search)
        if asked.status_only:
            found = await searches.find(caller.tenant, wanted)
        else:
            found = await searches.start(caller, wanted, asked.demo)
            if found.state == "running" and not asked.with_progress:
                found = await searches.wait(caller.tenant, wanted)
                if found.state == "failed":  # Told now: the next call starts it again.
                    found = await searches.start(caller, wanted, asked.demo)
        return await answer(found)

    async def answer(found: Search) -> Response:
        if found.state == "failed":
            raise FaceCheckError(found.code or Code.FAILED, found.message or "The search failed.")
        output = None
        if found.state == "done":
            output = await searches.output(found)
            message = found.message or "The search is done."
        elif found.state == "running":
            message = found.message or "Waiting in the queue"
        else:
            message = f"{_pictures_of(found)} It is not started."
        described = _described(found, message)
        described.progress = found.progress
        return described.response(output, null_output=null_output)

    @app.post("/api/delete_pic", **documented)
    async def delete_pic(
        caller: Caller, id_search: Annotated[str, Query()] = "", id_pic: Annotated[str, Query()] = ""
    ) -> Response:
        """Remove a picture; the answer has what remains."""
        search = _search_id(id_search)
        if not id_pic:
            raise FaceCheckError(Code.REQUEST, "id_pic is missing.")
        try:
            picture = UUID(id_pic)
        except ValueError:
            await searches.find(caller.tenant, search)
            raise SearchPictureNotFound(id_pic[:64]) from None
        left = await searches.delete_picture(caller.tenant, search, picture)
        return _described(left, _pictures_of(left)).response(null_output=null_output)

    @app.post("/api/info", tags=["FaceCheckAPI"], response_model=InfoResponse)
    async def info(caller: Caller) -> Response:
        """How many faces are searched, whether the index answers, and the token's credits."""
        balance, price = await searches.balance(caller), settings.facecheck.search_credits
        found = InfoResponse(
            faces=min(await searches.faces(), MAX_INT32),
            is_online=await searches.is_online(),
            remaining_credits=MAX_INT32 if balance is None else min(balance, MAX_INT32),
            has_credits_to_search=balance is None or balance >= price,
        )
        return Response(found.model_dump_json(), media_type="application/json")

    app.read_by_hand = (SearchData,)
    return app
