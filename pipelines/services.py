"""What routes may use: the graphs, the keys and the settings. One set for each ingress process."""

from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from prosopon.configs.settings import Settings
from prosopon.deployments.services import FaceIndexService
from prosopon.deployments.state.database import Records
from prosopon.models.matching.calibration import SimilarityCurve
from prosopon.pipelines.graphs.enrollments import Enrollments
from prosopon.pipelines.graphs.face_analysis import FaceAnalyzer
from prosopon.pipelines.graphs.generation import Generation
from prosopon.pipelines.graphs.recognition import Recognition
from prosopon.pipelines.graphs.searches import Searches
from prosopon.pipelines.graphs.swaps import Swaps
from prosopon.pipelines.http.keys import Authenticator

Graph = TypeVar("Graph")


@dataclass(frozen=True, slots=True)
class Services:
    """graphs: one of each kind that the APIs of the settings need."""

    settings: Settings
    records: Records
    keys: Authenticator
    graphs: tuple[object, ...]

    @property
    def recognition(self) -> Recognition:
        return self._graph(Recognition)

    @property
    def faces(self) -> FaceAnalyzer:
        return self.recognition.faces

    @property
    def similarity(self) -> SimilarityCurve:
        return self.recognition.similarity

    @property
    def galleries(self) -> FaceIndexService:
        return self.recognition.galleries

    @property
    def enrollments(self) -> Enrollments:
        return self._graph(Enrollments)

    @property
    def searches(self) -> Searches:
        return self._graph(Searches)

    @property
    def generation(self) -> Generation:
        return self._graph(Generation)

    @property
    def swaps(self) -> Swaps:
        return self._graph(Swaps)

    def _graph(self, kind: type[Graph]) -> Graph:
        """Raises LookupError for one that no API of the settings needs."""
        for graph in self.graphs:
            if isinstance(graph, kind):
                return graph
        raise LookupError(f"no API of the settings needs {kind.__name__}")


async def services_of(request: Request) -> Services:
    """The services of the application that answers the request."""
    services: Services = request.app.state.services
    return services


Served = Annotated[Services, Depends(services_of)]
"""A route's parameter."""
