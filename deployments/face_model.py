"""A model of faces deployed by itself, under its role's name. The Detector runs the others (`detection.colocated`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from ray import serve

from prosopon.configs.settings import DeploymentSettings, ModelSettings
from prosopon.deployments.serving.batching import Batched, compute_for
from prosopon.deployments.serving.face_models import FaceModels
from prosopon.deployments.serving.messages import FaceChips, Results, Timed
from prosopon.models.faces.attributes.declaration import FaceRole, ModelCard


@serve.deployment
class FaceModelReplica:
    """Answers chips with what the models of some roles, which one network serves, say of each face."""

    def __init__(
        self, roles: Sequence[FaceRole[Any]], models: ModelSettings, settings: DeploymentSettings
    ) -> None:
        self._models = FaceModels(roles, models, compute_for(settings))
        self._models.warm_up()
        self._predict: Batched[tuple[frozenset[str], FaceChips], dict[str, Timed[Any]]] = Batched(
            roles[0].name,
            self._models.run,
            settings,
            lambda item: max(map(len, item[1].values())),
            observed=False,
        )

    def describe(self) -> Mapping[str, ModelCard]:
        """Role -> card."""
        return self._models.cards

    async def predict(self, roles: frozenset[str], chips: FaceChips) -> Results:
        """Of at least one face the results of the roles, all of which are here."""
        return await self._predict((roles, chips))
