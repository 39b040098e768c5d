"""What is made as an answer: found where it was made already, with validators and ranges."""

from typing import Any

from fastapi import Request, Response

from prosopon.pipelines.graphs.generation import Generation, Recipe
from prosopon.pipelines.http.downloads import download, etag_of, not_modified

CACHE_CONTROL = "public, max-age=86400"
"""The bytes stay the same until the operator changes the generator."""


async def made(request: Request, generation: Generation, recipe: Recipe) -> Response:
    """304 where the client has it; the whole or a range."""
    etag = etag_of(recipe.key)
    if response := not_modified(request, etag, CACHE_CONTROL):
        return response
    return download(request, await generation.get(recipe), etag, CACHE_CONTROL)


def answers(*media_types: str) -> dict[str, Any]:
    """OpenAPI of a route whose answer is of one of these."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in media_types}
    return {"response_class": Response, "responses": {200: {"content": content}}}
