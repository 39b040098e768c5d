"""Who is in a picture: against one enrollment, or among those of a collection."""

from typing import Annotated

import numpy as np

from prosopon.deployments.state.errors import CollectionUntrained
from prosopon.models.faces.attributes.embedding import EMBEDDING
from prosopon.pipelines.apis.trueface.bodies import Sent, with_picture
from prosopon.pipelines.apis.trueface.faces import Caller, faces_in
from prosopon.pipelines.apis.trueface.wire import Envelope, Identification, ToIdentify, ToMatch
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.services import Served

router = api_router(tags=["recognition"])


@router.post("/match")
async def match(
    caller: Caller, services: Served, sent: Annotated[Sent[ToMatch], with_picture(ToMatch)]
) -> Envelope[dict[str, bool | float]]:
    """How similar the picture's most similar face is to every picture of an enrollment."""
    stored = await services.enrollments.embeddings(caller.tenant, sent.fields.id)
    picture = await faces_in(services, "img", sent.pictures["img"], frozenset({EMBEDDING}), limit=0)
    probes = np.stack([face.embedding for face in picture.faces])
    distances = np.linalg.norm(stored[:, np.newaxis] - probes, axis=2).min(axis=1)
    found: dict[str, bool | float] = {}
    for number, score in enumerate(map(float, services.similarity.similarity(distances))):
        found[f"emb{number}_match"] = score >= sent.fields.threshold
        found[f"emb{number}_score"] = score
    return Envelope(data=found, message="face processed successfully")


@router.post("/identify")
async def identify(
    caller: Caller, services: Served, sent: Annotated[Sent[ToIdentify], with_picture(ToIdentify)]
) -> Envelope[Identification]:
    """Who of a collection the picture's biggest face belongs to, if to anybody."""
    collection = sent.fields.collection_id
    face = (await faces_in(services, "img", sent.pictures["img"], frozenset({EMBEDDING}))).faces[0]
    found = await services.enrollments.identify(caller.tenant, collection, face.embedding)
    if found is None:
        raise CollectionUntrained(str(collection))
    if found.confidence < 0.5:
        nobody = Identification(name=None, key=None, confidence=found.confidence)
        return Envelope(data=nobody, message="the person is unknown")
    member = Identification(name=found.name, key=str(found.enrollment), confidence=found.confidence)
    return Envelope(data=member, message="identify processed successfully")
