"""Faces: any text has one."""

from typing import Annotated

from fastapi import Path, Request, Response
from starlette.exceptions import HTTPException

from prosopon.models.generation.latents import Part, in_z, latent_of_seed, seed_of, sum_in_z
from prosopon.pipelines.apis.checkface.made import answers, made
from prosopon.pipelines.apis.checkface.named import Mixed
from prosopon.pipelines.apis.checkface.wire import Dim, Format, LatentInW, LatentInZ
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.services import Served

Text = Annotated[str, Path(description="any text", examples=["Ann"])]
_POSTED = ("registerlatent", "recoverlatent")
"""Routes that GET would otherwise take for texts."""
_PICTURES = ("image/jpeg", "image/png", "image/webp")

router = api_router(tags=["faces"])
texts = api_router(tags=["faces"])
"""Comes after all other routes, whose names are no texts."""


@router.get("/face/", **answers(*_PICTURES))
async def face(
    request: Request, services: Served, named: Mixed, dim: Dim = 300, format: Format = "jpg"
) -> Response:
    """A picture of a face."""
    return await made(request, services.generation, services.generation.face(named.mixture, dim, format))


@router.get("/hashdata/", response_model_exclude_none=True)
async def hashdata(services: Served, named: Mixed) -> LatentInZ | LatentInW:
    """The latent behind a face: `qlatent`, 512 numbers in z, or `dlatent`, 512 for each layer, in w+."""
    mixture = named.mixture
    if in_z(mixture):
        return LatentInZ(qlatent=sum_in_z(mixture).tolist(), seed=named.seed)
    if len(mixture) == 1 and mixture[0].amount == 1:
        return LatentInW(dlatent=mixture[0].latent.numbers.tolist())
    return LatentInW(dlatent=(await services.generation.styles(mixture)).tolist())


@texts.get("/{text}/", **answers("image/jpeg"))
async def face_of_text(request: Request, services: Served, text: Text) -> Response:
    """The face of a text, of 300 pixels: what pages embed. A route's name is no text."""
    if text in _POSTED:
        raise HTTPException(405, f"/api/{text}/ is for POST", {"Allow": "POST"})
    mixture = (Part(latent_of_seed(seed_of(text))),)
    return await made(request, services.generation, services.generation.face(mixture, 300, "jpg"))
