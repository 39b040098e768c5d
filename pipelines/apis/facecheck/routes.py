"""The FaceCheck API: who on the web has this face.

Contract: the service's own OpenAPI document, which describes one status, 200: what goes wrong is said by ``error`` and
``code``, except where HTTP itself has a word for it (401, 413, 503).
"""

from typing import Annotated

from fastapi import Query
from starlette.responses import JSONResponse

from prosopon.deployments.state.jobs.searches import Search
from prosopon.deployments.state.keys import Key
from prosopon.pipelines.apis.facecheck import BASE
from prosopon.pipelines.apis.facecheck.bodies import Asked, Pictures
from prosopon.pipelines.apis.facecheck.errors import SearchFailed, errors
from prosopon.pipelines.apis.facecheck.wire import (
    MAX_INT32,
    BrowserJsonResponse,
    InfoResponse,
    Search_Results,
    SearchData,
    WithoutNullOutput,
    described,
    id_of,
    pictures_of,
)
from prosopon.pipelines.graphs.searches import Searches
from prosopon.pipelines.http.application import ApiApp, api_app
from prosopon.pipelines.http.bodies import AN_ID, BodyError, off_the_loop
from prosopon.pipelines.http.keys import TOKEN, caller
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.services import Served, Services

Caller = Annotated[Key, caller("facecheck", TOKEN)]

router = api_router(tags=["FaceCheckAPI"])


def create_app(services: Services) -> ApiApp:
    """The API's application. Its OpenAPI document is at ``/openapi/facecheck.json``."""
    answers = JSONResponse if services.settings.facecheck.null_output else WithoutNullOutput
    app = api_app(
        "facecheck",
        "FaceCheck API",
        "v1.02",
        services=services,
        errors=errors(answers),
        default_response_class=answers,
    )
    app.include_router(router, prefix=BASE)
    return app


@router.post("/upload_pic")
async def upload_pic(caller: Caller, services: Served, sent: Pictures) -> BrowserJsonResponse:
    """Upload 1 to 3 pictures of a person, for a new search or one that is there."""
    uploaded = await services.searches.upload(caller.tenant, sent.search, sent.pictures)
    return described(uploaded.search, " ".join([pictures_of(uploaded.search), *uploaded.notes]))


@router.post("/search")
async def search(caller: Caller, services: Served, asked: Asked) -> BrowserJsonResponse:
    """Search by the uploaded pictures; asked again, say how far it is and at last what was found."""
    found = await _searched(services.searches, caller, asked)
    if found.state == "failed":
        raise SearchFailed(found.code, found.message)
    if found.state == "open":
        return described(found, f"{pictures_of(found)} It is not started.", found.progress)
    if found.state == "running":
        return described(found, found.message or "Waiting in the queue", found.progress)
    results = await services.searches.output(found)
    output = await off_the_loop(len(results), Search_Results.model_validate_json, results)
    return described(found, found.message or "The search is done.", found.progress, output)


@router.post("/delete_pic")
async def delete_pic(
    caller: Caller,
    services: Served,
    id_search: Annotated[str, Query(description="of a search with pictures", examples=[AN_ID])] = "",
    id_pic: Annotated[str, Query(description="of the picture in it", examples=[AN_ID])] = "",
) -> BrowserJsonResponse:
    """Remove a picture; the answer has what remains."""
    search = id_of(id_search)
    if not id_pic:
        raise BodyError("id_pic is missing.")
    left = await services.searches.delete_picture(caller.tenant, search, id_of(id_pic))
    return described(left, pictures_of(left))


@router.post("/info")
async def info(caller: Caller, services: Served) -> InfoResponse:
    """How many faces are searched, whether the index answers, and the token's credits."""
    searches, price = services.searches, services.settings.facecheck.search_credits
    balance = await searches.balance(caller)
    return InfoResponse(
        faces=min(await searches.faces(), MAX_INT32),
        is_online=await searches.is_online(),
        remaining_credits=MAX_INT32 if balance is None else min(balance, MAX_INT32),
        has_credits_to_search=balance is None or balance >= price,
    )


async def _searched(searches: Searches, caller: Key, asked: SearchData) -> Search:
    """The search as far as the request has it go: not at all, begun, or done."""
    wanted = id_of(asked.id_search)
    if asked.status_only:
        return await searches.find(caller.tenant, wanted)
    found = await searches.start(caller, wanted, asked.demo)
    if found.state == "running" and not asked.with_progress:
        found = await searches.wait(caller.tenant, wanted)
        if found.state == "failed":  # Told now: the next call starts it again.
            found = await searches.start(caller, wanted, asked.demo)
    return found
