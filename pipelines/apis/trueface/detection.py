"""Single pictures: the faces that they show, and whether these are live."""

import asyncio
import uuid
from typing import Annotated

import numpy as np
from fastapi import Query, Response

from prosopon.deployments.state.spoof_checks import SpoofChecks
from prosopon.models.faces.attributes.landmarks import IBUG_LANDMARKS
from prosopon.models.faces.attributes.liveness import CRAMPED, LIVENESS
from prosopon.pipelines.apis.trueface.bodies import Picture
from prosopon.pipelines.apis.trueface.errors import NoModel
from prosopon.pipelines.apis.trueface.faces import Caller, faces_in
from prosopon.pipelines.apis.trueface.wire import (
    Envelope,
    FoundFace,
    FoundFaces,
    FoundFaceWithLandmarks,
    SpoofCheck,
)
from prosopon.pipelines.graphs.face_analysis import Attribute, Face
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.services import Served

router = api_router(tags=["pictures"])


@router.post("/spdetect")
async def detect_spoof(
    caller: Caller, services: Served, image: Picture, response: Response
) -> Envelope[SpoofCheck]:
    """Whether the biggest face is live or an attempt to deceive.

    The header `X-Liveness-Model` names the model that answered.
    """
    if not services.faces.available(LIVENESS):
        raise NoModel("no liveness model is in service")
    face = (await faces_in(services, "img", image, frozenset({LIVENESS}))).faces[0]
    live, key, card = face[LIVENESS].probability, uuid.uuid4(), services.faces.card(LIVENESS)
    await asyncio.to_thread(SpoofChecks(services.records).add, caller.tenant, key, live, card.fingerprint)
    response.headers["X-Liveness-Model"] = card.name
    kind, score = ("real", live) if live >= 0.5 else ("fake", 1 - live)
    found = SpoofCheck.model_validate({"class": kind, "key": str(key), "score": score})
    warning = f"; warning: {CRAMPED}" if face[LIVENESS].cramped else ""
    return Envelope(data=found, message=f"data processed successfully{warning}")


@router.post("/facedetect")
async def detect_faces(
    caller: Caller,
    services: Served,
    image: Picture,
    rawlandmarks: Annotated[bool, Query(description="add raw_landmarks", examples=[True])] = False,
    rawlandmark: Annotated[
        bool, Query(description="the documentation's other spelling", examples=[True])
    ] = False,
) -> Envelope[FoundFaces]:
    """Every face of the picture, the biggest first; none is an empty list."""
    attributes = frozenset[Attribute]()
    if rawlandmarks or rawlandmark:
        if not services.faces.available(IBUG_LANDMARKS):
            raise NoModel("no model of 68 landmarks is in service")
        attributes = frozenset({IBUG_LANDMARKS})
    picture = await services.faces.analyze(image, attributes)
    found = FoundFaces(faces=[_found(face) for face in picture.faces])
    return Envelope(data=found, message="face processed successfully")


def _found(face: Face) -> FoundFace:
    x1, y1, x2, y2 = (float(value) for value in face.box)
    points = [round(float(value)) for value in np.concatenate([face.landmarks[:, 0], face.landmarks[:, 1]])]
    box = (x1, y1, x2, y2, face.score)
    landmarks = face.get(IBUG_LANDMARKS)
    if landmarks is None:
        return FoundFace(bounding_box=box, points=points)
    dense = [(round(float(x)), round(float(y))) for x, y in landmarks]
    return FoundFaceWithLandmarks(bounding_box=box, points=points, raw_landmarks=dense)
