"""The Identifier: says who of a collection a face belongs to, and keeps the collections' classifiers up to date."""

import asyncio
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from uuid import UUID

from ray import serve
from ray.serve.handle import DeploymentHandle
from ray.util.metrics import Histogram

from prosopon.configs.settings import DeploymentSettings, DetectionSettings, ModelSettings, StateSettings
from prosopon.deployments.services import DescribesModels
from prosopon.deployments.serving.batching import compute_for
from prosopon.deployments.serving.calls import refusals_are_answers
from prosopon.deployments.serving.messages import Identified
from prosopon.deployments.serving.remote import remote
from prosopon.deployments.state.blobs import BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import BlobMissing
from prosopon.deployments.state.galleries.collections import CollectionStore
from prosopon.models.faces.attributes import embedding
from prosopon.models.faces.attributes.declaration import ModelCard
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.calibration import SimilarityCurve, load_similarity
from prosopon.models.matching.cohort import GENERATOR, Cohort, can_be_generated, load_cohort
from prosopon.models.matching.identification import Candidate, OpenSetClassifier, fit

logger = logging.getLogger("ray.serve")

_POLL_SECONDS = 1.0
_CACHED_CLASSIFIERS = 64
_NAMES_AT_ONCE = 20


@serve.deployment
class Identifier:
    """Answers with the classifier that the records name at that moment, so that all replicas agree.

    A thread trains what has changed, within seconds. The strangers are computed by a process of its own, of the
    lowest priority, once a collection asks for them; until they are there its classifier does without.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits an asynchronous constructor
        self,
        models: ModelSettings,
        detection: DetectionSettings,
        state: StateSettings,
        settings: DeploymentSettings,
        embeds: DeploymentHandle,
    ) -> None:
        compute_for(settings)
        card = (await remote(embeds, DescribesModels).describe())[embedding.ROLE.name]
        self._fingerprint = card.fingerprint
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="identify")
        records = await asyncio.to_thread(Records, state.database)
        self._collections = CollectionStore(records, BlobStore(records, state.blobs))
        self._classifier = lru_cache(_CACHED_CLASSIFIERS)(self._read_classifier)
        strangers = Strangers(models, detection, card.fingerprint)
        curve = load_similarity(models, card.fingerprint)
        trainer = Trainer(self._collections, card, strangers, curve)
        threading.Thread(target=trainer.run, name="trainer", daemon=True).start()

    @refusals_are_answers
    async def identify(self, gallery: int, collection: UUID, embedding: Float32) -> Identified | None:
        """embedding: ``(D,)`` float32, unit norm. None where every member has left since the training.

        Raises CollectionNotFound, CollectionUntrained.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._identify, gallery, collection, embedding)

    def _identify(self, gallery: int, collection: UUID, embedding: Float32) -> Identified | None:
        try:
            serving = self._collections.classifier(gallery, collection, self._fingerprint)
            candidates = self._classifier(serving).rank(embedding)
        except BlobMissing:  # Replaced between the two reads: the next is there.
            serving = self._collections.classifier(gallery, collection, self._fingerprint)
            candidates = self._classifier(serving).rank(embedding)
        for start in range(0, len(candidates), _NAMES_AT_ONCE):
            if found := self._first_member(collection, candidates[start : start + _NAMES_AT_ONCE]):
                return found
        return None

    def _first_member(self, collection: UUID, candidates: list[Candidate]) -> Identified | None:
        """Who has been deleted since the training is passed over."""
        names = self._collections.names(collection, [UUID(candidate.label) for candidate in candidates])
        for candidate in candidates:
            enrollment = UUID(candidate.label)
            if enrollment in names:
                return Identified(enrollment, names[enrollment], candidate.confidence)
        return None

    def _read_classifier(self, sha256: str) -> OpenSetClassifier:
        return OpenSetClassifier.from_bytes(self._collections.read_classifier(sha256))


class Strangers:
    """The cohort of an embedder: read when it is there, computed by a child process when it is not."""

    def __init__(self, models: ModelSettings, detection: DetectionSettings, embedder: str) -> None:
        self._models, self._detection, self._embedder = models, detection, embedder
        self._cohort: Cohort | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._given_up = False

    def find(self) -> Cohort | None:
        """The cohort, as far as there is one by now."""
        if self._cohort is None:
            self._cohort = load_cohort(self._models, self._embedder)
        return self._cohort

    def want(self) -> None:
        """Have the cohort computed, once, while everything else goes on."""
        if self._cohort is not None or self._given_up:
            return
        if self._process is not None:
            status = self._process.poll()
            if status:
                self._given_up = True
                logger.error("strangers could not be computed (exit status %s)", status)
            return
        if not can_be_generated(self._models):
            self._given_up = True
            logger.warning("no strangers are learnt: run `prosopon models pull %s`", " ".join(GENERATOR))
            return
        logger.info("computing strangers for %s in the background", self._embedder)
        settings = {
            "models": self._models.model_dump(mode="json"),
            "detection": self._detection.model_dump(mode="json"),
        }
        with tempfile.TemporaryFile() as told:
            told.write(json.dumps(settings).encode())
            told.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "prosopon.models.matching.cohort"], stdin=told
            )


class Trainer:
    """Trains every collection whose classifier is due."""

    def __init__(
        self,
        collections: CollectionStore,
        card: ModelCard,
        strangers: Strangers,
        curve: SimilarityCurve,
    ) -> None:
        self._collections, self._card, self._strangers, self._curve = collections, card, strangers, curve
        self._seconds = Histogram(
            "prosopon_training_seconds",
            "Time of training one collection.",
            boundaries=[0.001, 0.01, 0.1, 1, 10],
        )

    def run(self) -> None:
        """For ever. A failure is logged and tried again: what is due stays due."""
        while True:
            try:
                while self._train_one():
                    pass
                if self._strangers.find() is None and self._collections.lacks_strangers():
                    self._strangers.want()
            except Exception:
                logger.exception("training a collection failed")
            time.sleep(_POLL_SECONDS)

    def _train_one(self) -> bool:
        cohort = self._strangers.find()
        known = cohort.fingerprint if cohort else None
        due = self._collections.claim(self._card.fingerprint, known)
        if due is None:
            return False
        started = time.perf_counter()
        strangers = cohort.embeddings if cohort and due.unknowns else None
        labels = [str(label) for label in due.labels]
        classifier = fit(labels, due.embeddings, self._curve, strangers).to_bytes()
        learnt = known if due.unknowns else None
        published = self._collections.publish(due, classifier, self._card.fingerprint, learnt)
        took = time.perf_counter() - started
        self._seconds.observe(took)
        logger.info(
            "collection %s: %s revision %d with %d pictures and %d strangers in %.2f s",
            due.collection,
            "trained" if published else "did not need",
            due.revision,
            len(labels),
            0 if strangers is None else len(strangers),
            took,
        )
        return True
