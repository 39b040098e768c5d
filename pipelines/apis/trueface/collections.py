"""Collections of enrollments, whose classifiers tell their members apart."""

import uuid
from datetime import UTC, datetime
from typing import Annotated

from prosopon.deployments.state.galleries.collections import Collection
from prosopon.pipelines.apis.trueface.bodies import fields
from prosopon.pipelines.apis.trueface.faces import Caller
from prosopon.pipelines.apis.trueface.wire import (
    ChangedCollection,
    CollectionDescription,
    CollectionId,
    Envelope,
    NamedCollection,
    NewCollection,
)
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.services import Served

router = api_router(tags=["collections"])

Named = Annotated[NamedCollection, fields(NamedCollection)]


@router.post("/collection")
async def create(
    caller: Caller, services: Served, new: Annotated[NewCollection, fields(NewCollection)]
) -> Envelope[CollectionId]:
    """Create a collection; with unknowns its classifier also learns a class of strangers."""
    collection = uuid.uuid4()
    await services.enrollments.create_collection(caller.tenant, collection, new.name, new.unknowns)
    return _answer(collection, "collection created successfully")


@router.put("/collection")
async def add(
    caller: Caller, services: Served, given: Annotated[ChangedCollection, fields(ChangedCollection)]
) -> Envelope[CollectionId]:
    """Add an enrollment; the classifier follows within 30 seconds."""
    await services.enrollments.add_to_collection(caller.tenant, given.collection_id, given.enrollment_id)
    return _answer(given.collection_id, "collection updated successfully")


@router.delete("/collection")
async def delete(caller: Caller, services: Served, given: Named) -> Envelope[str]:
    """Delete a collection and its classifier; the enrollments stay."""
    await services.enrollments.delete_collection(caller.tenant, given.collection_id)
    return Envelope(data=f"Entity {given.collection_id} has been deleted")


@router.get("/collection")
async def list_all(caller: Caller, services: Served) -> Envelope[list[CollectionDescription]]:
    """Every collection, the oldest first."""
    found = await services.enrollments.collections(caller.tenant)
    return Envelope(data=[_described(collection, caller.tenant) for collection in found])


@router.post("/train")
async def train(caller: Caller, services: Served, given: Named) -> Envelope[CollectionId]:
    """Have the classifier trained in the background."""
    await services.enrollments.train(caller.tenant, given.collection_id)
    return _answer(given.collection_id, "retraining the classifier")


def _answer(collection: uuid.UUID, message: str) -> Envelope[CollectionId]:
    return Envelope(data=CollectionId(collection_id=str(collection)), message=message)


def _described(collection: Collection, owner: int) -> CollectionDescription:
    """The labels are stored with the classifier, so that both are named alike."""
    classifier = f"sha256:{collection.classifier}" if collection.classifier else ""
    return CollectionDescription(
        classifier_url=classifier,
        created=_iso(collection.created),
        enrollments=[str(member) for member in collection.members],
        id=str(collection.id),
        label_encoder=classifier,
        name=collection.name,
        owner=str(owner),
        unknown=collection.unknowns,
        updated=_iso(collection.updated),
    )


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
