"""What can go wrong with state, as an API's error table would name it."""

from typing import TypeVar
from uuid import UUID

Result = TypeVar("Result")


class StateError(Exception):
    """Base of every error that a caller of the state library is meant to handle."""


def value_of(result: Result | StateError) -> Result:
    """The result of one item of a batch; its failure, which is its caller's alone, is raised."""
    if isinstance(result, StateError):
        raise result
    return result


class StorageFault(StateError):
    """The storage is at fault, not the request. status: the HTTP status that says so (RFC 9110, RFC 4918)."""

    status = 500
    retry_after: int | None = None
    """Seconds after which another try may do."""


class StorageBusy(StorageFault):
    """The database or the index cannot be reached, or another process keeps it locked."""

    status = 503
    retry_after = 2


class StorageFull(StorageFault):
    """No space is left where the state is kept. What was acknowledged is there; nothing more can be."""

    status = 507
    retry_after = 60


class SchemaTooNew(StateError):
    """A later version of Prosopon has written the database."""


class InvalidSubject(StateError):
    """A subject's name is empty, too long, or cannot be stored as text."""


class SubjectNotFound(StateError):
    """No subject of that name in the gallery."""


class SubjectExists(StateError):
    """The gallery already has a subject of that name."""


class GalleryNotFound(StateError):
    """No gallery with that id."""


class InvalidEmbedding(StateError):
    """Wrong length, not a number, infinite, or zero."""


class FingerprintMismatch(StateError):
    """The gallery's embeddings were made by another model than the one in service."""

    def __init__(self, gallery: int, stored: str, serving: str) -> None:
        super().__init__(
            f"gallery {gallery} holds embeddings of {stored!r} and the model in service is {serving!r}: "
            "run `prosopon reembed` to compute them again from the stored images"
        )
        self.gallery, self.stored, self.serving = gallery, stored, serving

    def __reduce__(self) -> tuple[type["FingerprintMismatch"], tuple[int, str, str]]:
        return FingerprintMismatch, (self.gallery, self.stored, self.serving)


class EmbedderNotInService(StateError):
    """Embeddings were made by another model than the one that serves."""

    def __init__(self, given: str, serving: str) -> None:
        super().__init__(
            f"the running server embeds with {serving!r}, not with {given!r}: start it again, which needs no more than "
            "that, and then run this while it serves"
        )
        self.given, self.serving = given, serving

    def __reduce__(self) -> tuple[type["EmbedderNotInService"], tuple[str, str]]:
        return EmbedderNotInService, (self.given, self.serving)


class ImageIdTaken(StateError):
    """The image id belongs to another face."""

    def __init__(self, image_id: UUID) -> None:
        super().__init__(f"image id {image_id} belongs to another face")
        self.image_id = image_id

    def __reduce__(self) -> tuple[type["ImageIdTaken"], tuple[UUID]]:
        return ImageIdTaken, (self.image_id,)


class BlobMissing(StorageFault):
    """No blob with that hash is stored."""


class BlobCorrupt(StorageFault):
    """A stored blob's bytes do not have the hash they are stored under."""


class IndexUnavailable(StorageBusy):
    """The vector index cannot be reached, or takes no more changes."""


class KeyNotFound(StateError):
    """No key with that id."""


class NotEnoughCredits(StateError):
    """The key's balance is smaller than the charge."""


class EnrollmentNotFound(StateError):
    """The tenant has no enrollment with that id."""


class CollectionNotFound(StateError):
    """The tenant has no collection with that id."""


class CollectionEmpty(StateError):
    """Nobody is in the collection, so there is nothing to learn."""


class CollectionUntrained(StateError):
    """The collection has no classifier yet."""


class SearchNotFound(StateError):
    """The tenant has no search with that id, or it has expired."""


class SearchRunning(StateError):
    """The search is being made, and its pictures stay as they are until it is done."""


class SearchPictureNotFound(StateError):
    """The search has no picture with that id."""


class SearchWithoutPictures(StateError):
    """A search needs a picture."""


class TooManySearchPictures(StateError):
    """A search takes no more pictures than a probe is made of."""


class TaskNotFound(StateError):
    """The tenant has no task with that id, or no result has that name."""


class TooManyTasks(StateError):
    """More tasks wait than the operator allows."""


class TooManyTasksOfTenant(TooManyTasks):
    """More tasks of this tenant wait than the operator allows."""


class ResultExpired(StateError):
    """The result was kept for its time and is deleted."""


class CannotRetry(StateError):
    """The task has succeeded, or what it was made from is deleted."""
