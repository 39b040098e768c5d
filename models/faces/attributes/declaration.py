"""How an attribute of faces is declared: what is asked for, and the place of the model that knows it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from prosopon.configs.settings import Deployments, DeploymentSettings
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Model
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.registry import Weights

Network = TypeVar("Network", bound=Model)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What callers need to know of a model that runs elsewhere.

    crops: how its inputs are cut; dim: length of an embedding, or number of landmarks.
    """

    name: str
    fingerprint: str
    crops: tuple[CropSpec, ...] = ()
    dim: int | None = None


def _as_it_is(output: Any) -> Any:
    return output


@dataclass(frozen=True, slots=True)
class FaceModel:
    """A loaded model of faces, in two steps: two roles whose models have the same `run` share one run of a network.

    run: chips ``(N, S, S, 3)`` uint8 RGB, a batch for each crop of the card, to what the network gives. read: what
    the network gives to one result per face, as a list or as rows of an array.
    """

    card: ModelCard
    run: Callable[..., Any]
    read: Callable[[Any], Any] = _as_it_is

    @classmethod
    def of(
        cls,
        network: Model,
        crops: tuple[CropSpec, ...],
        run: Callable[..., Any],
        read: Callable[[Any], Any] = _as_it_is,
        dim: int | None = None,
    ) -> "FaceModel":
        """The model that a network makes. dim: as `ModelCard.dim`."""
        return cls(ModelCard(network.name, network.fingerprint, crops, dim), run, read)


@dataclass(frozen=True, slots=True)
class FaceRole(Generic[Network]):
    """The place of a model of faces. Its name is that of the override, of the deployment and of the metrics' stage.

    networks: artifact of the catalogue, or suffix of an operator's own file -> what opens its weights. serve: a
    network as a model. own: weights that are part of the project, used unless overridden, or in a pack of
    InsightFace's that has its own. stage: in the metrics, where that is not the name. resources: of the deployment,
    unless the settings give it others.
    """

    name: str
    networks: Mapping[str, Callable[[Weights, Compute], Network]]
    serve: Callable[[Network], FaceModel]
    own: Path | None = None
    own_summary: str = ""
    stage: str = ""
    resources: DeploymentSettings = field(default_factory=DeploymentSettings)

    def resources_in(self, deployments: Deployments) -> DeploymentSettings:
        """Those that the settings give it, or its own."""
        return deployments.of_roles.get(self.name, self.resources)


@dataclass(frozen=True, slots=True)
class FaceInPicture:
    """Where a face is. box: x1 y1 x2 y2; landmarks: ``(5, 2)``; width, height: of the upright picture; all in its
    pixels. matrices: for each crop of the model the ``(2, 3)`` from picture to crop."""

    box: Float32
    landmarks: Float32
    width: int
    height: int
    matrices: tuple[Float32, ...] = ()


def _result(result: Any, face: FaceInPicture) -> Any:
    return result


def _any(card: ModelCard) -> bool:
    return True


@dataclass(frozen=True, slots=True, eq=False)
class FaceAttribute(Generic[Value]):
    """What can be asked for about a face. Equal by name: a copy from another process is the same attribute.

    result: type of its value. role: of the model that knows it; None where the detector does. read: a model's result
    for one face, and where that is, to the value. needs: whether a model in that role can tell. called: API -> the
    attribute's name there.
    """

    name: str
    result: type[Value]
    role: FaceRole[Any] | None
    read: Callable[[Any, FaceInPicture], Value] = _result
    needs: Callable[[ModelCard], bool] = _any
    called: Mapping[str, str] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FaceAttribute) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)
