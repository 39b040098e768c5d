"""Faces in the pictures that Trueface's clients send; errors name the field of the picture."""

from typing import Annotated

from prosopon.deployments.state.keys import Key
from prosopon.models.pictures.decoding import ImageError
from prosopon.pipelines.graphs.face_analysis import Attribute, Picture
from prosopon.pipelines.graphs.recognition import NoFace
from prosopon.pipelines.http.keys import caller
from prosopon.pipelines.services import Services

Caller = Annotated[Key, caller("trueface")]


async def faces_in(
    services: Services, field: str, image: bytes, attributes: frozenset[Attribute], limit: int = 1
) -> Picture:
    """At least one face, the biggest first. Raises `NoFace`, and what `FaceAnalyzer.analyze` raises."""
    try:
        picture = await services.faces.analyze(image, attributes, limit=limit)
    except ImageError as error:
        raise ImageError(error.reason, f"'{field}': {error}") from None
    if not picture.faces:
        raise NoFace(f"'{field}': no face is found in the image")
    return picture
