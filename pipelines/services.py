"""What routes may use: the graphs, the keys and the settings. One set for each ingress process."""

from dataclasses import dataclass
from typing import Annotated

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


@dataclass(frozen=True, slots=True)
class Services:
    """A graph that no API of the settings needs is None."""

    settings: Settings
    records: Records
    keys: Authenticator
    recognition_graph: Recognition | None = None
    generation_graph: Generation | None = None
    swaps_graph: Swaps | None = None
    facecheck_searches: Searches | None = None

    @property
    def recognition(self) -> Recognition:
        assert self.recognition_graph is not None
        return self.recognition_graph

    @property
    def generation(self) -> Generation:
        assert self.generation_graph is not None
        return self.generation_graph

    @property
    def swaps(self) -> Swaps:
        assert self.swaps_graph is not None
        return self.swaps_graph

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
        assert self.recognition.enrollments is not None
        return self.recognition.enrollments

    @property
    def searches(self) -> Searches:
        assert self.facecheck_searches is not None
        return self.facecheck_searches


async def services_of(request: Request) -> Services:
    """The services of the application that answers the request."""
    services: Services = request.app.state.services
    return services


Served = Annotated[Services, Depends(services_of)]
"""A route's parameter."""
