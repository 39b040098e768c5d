"""Morphs of two faces: as films, frame by frame, and as a picture that links to them."""

import base64
from typing import Annotated

from fastapi import Depends, Path, Request, Response
from starlette.responses import HTMLResponse

from prosopon.deployments.serving.messages import FilmRequest
from prosopon.deployments.state.blobs import Blob
from prosopon.models.faces.detections import FilmFormat
from prosopon.models.generation.latents import Morph, between
from prosopon.pipelines.apis.checkface.made import CACHE_CONTROL, answers, made
from prosopon.pipelines.apis.checkface.named import Ends, Morphed
from prosopon.pipelines.apis.checkface.wire import (
    Embedded,
    Film,
    FilmProgress,
    Format,
    FrameNumber,
    Kbitrate,
    Width,
)
from prosopon.pipelines.graphs.generation import Generation, Recipe
from prosopon.pipelines.http.downloads import etag_of, not_modified
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.services import Served

router = api_router(tags=["films"])

Asked = Annotated[Film, Depends()]


@router.get("/gif/", **answers("image/gif"))
async def gif(request: Request, services: Served, ends: Morphed, asked: Asked) -> Response:
    """A morph as an animated gif, which loops."""
    return await made(request, services.generation, _recipe(services.generation, ends, "gif", asked))


@router.get("/webp/", **answers("image/webp"))
async def webp(request: Request, services: Served, ends: Morphed, asked: Asked) -> Response:
    """A morph as an animated webp, which loops."""
    return await made(request, services.generation, _recipe(services.generation, ends, "webp", asked))


@router.get("/mp4/", **answers("video/mp4", "text/html"))
async def mp4(
    request: Request,
    services: Served,
    ends: Morphed,
    asked: Asked,
    kbitrate: Kbitrate = 2400,
    embed_html: Embedded = False,
) -> Response:
    """A morph as H.264 video; with `embed_html` in a page that loops it."""
    recipe = _recipe(services.generation, ends, "mp4", asked, kbitrate)
    if not embed_html:
        return await made(request, services.generation, recipe)
    etag = etag_of(f"{recipe.key} page")
    if response := not_modified(request, etag, CACHE_CONTROL):
        return response
    return _page(await services.generation.get(recipe), asked.dim, etag)


@router.get("/{format}/progress/")
async def progress(
    services: Served,
    ends: Morphed,
    asked: Asked,
    format: Annotated[FilmFormat, Path(description="of the film", examples=["mp4"])],
    kbitrate: Kbitrate = 2400,
) -> FilmProgress:
    """How far the film of these parameters is, whoever has asked for it."""
    recipe = _recipe(services.generation, ends, format, asked, kbitrate)
    standing = await services.generation.standing(recipe)
    pictures = len(Morph.of(asked.num_frames, asked.linear).amounts)
    if standing is None:
        return FilmProgress(state="absent", made=0, pictures=pictures)
    if standing.ready:
        return FilmProgress(state="ready", made=pictures, pictures=pictures)
    return FilmProgress(state="making", made=standing.made, pictures=pictures)


@router.get("/morphframe/", **answers("image/jpeg", "image/png", "image/webp"))
async def morphframe(
    request: Request,
    services: Served,
    ends: Morphed,
    asked: Asked,
    frame_num: FrameNumber = 0,
    format: Format = "jpg",
) -> Response:
    """One frame of a morph."""
    morph = Morph.of(asked.num_frames, asked.linear)
    number = frame_num if frame_num < asked.num_frames else 0
    mixture = between(ends.start, ends.end, morph.amounts[morph.order[number]])
    return await made(request, services.generation, services.generation.face(mixture, asked.dim, format))


@router.get("/linkpreview/", **answers("image/jpeg"))
async def linkpreview(request: Request, services: Served, ends: Morphed, width: Width = 1200) -> Response:
    """Both ends of a morph and, larger, what lies between them."""
    recipe = services.generation.link_preview(ends.start, ends.end, width)
    return await made(request, services.generation, recipe)


def _recipe(
    generation: Generation, ends: Ends, format: FilmFormat, asked: Film, kbitrate: int = 2400
) -> Recipe:
    wanted = FilmRequest(
        ends.start, ends.end, format, asked.dim, asked.fps, asked.num_frames, kbitrate, asked.linear
    )
    return generation.film(wanted)


def _page(film: Blob, dim: int, etag: str) -> Response:
    """A page that holds the film itself, so that a saved one plays, and loops it. dim: of its square frames."""
    side = dim + dim % 2  # H.264's frames have even sides.
    source = f"data:{film.media_type};base64,{base64.b64encode(film.data).decode()}"
    page = (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8"><title>CheckFace</title>\n'
        "<style>body{margin:0;min-height:100vh;display:grid;place-items:center;background:#111}"
        "video{max-width:100vw;max-height:100vh}</style></head>\n"
        f'<body><video autoplay loop muted playsinline controls width="{side}" height="{side}" src="{source}"></video>'
        "</body></html>\n"
    )
    policy = "default-src 'none'; media-src data:; style-src 'unsafe-inline'"
    headers = {"Content-Security-Policy": policy, "Cache-Control": CACHE_CONTROL, "ETag": etag}
    return HTMLResponse(page, headers=headers)
