"""Pictures that requests bring: files, addresses, and results of this server."""

from typing import Annotated

from fastapi import Depends, Request

from prosopon.deployments.serving.contexts import looked_at
from prosopon.deployments.state.blobs import Blob
from prosopon.models.pictures.decoding import check
from prosopon.models.swap.face_swap import check_source
from prosopon.pipelines.apis.aifaceswap import BASE
from prosopon.pipelines.apis.aifaceswap.errors import naming
from prosopon.pipelines.apis.aifaceswap.fields import PictureField
from prosopon.pipelines.services import Served

RESULTS = f"{BASE}/result/"


class _Sources:
    """results_url: under which this server's results are found, as the client reaches it."""

    def __init__(self, request: Request, services: Served) -> None:
        here = services.settings.http.public_url or str(request.base_url).rstrip("/")
        self.results_url = here + RESULTS
        self._here, self._swaps, self._limits = here, services.swaps, services.settings.images
        self._films = services.settings.swap.films

    async def checked(self, picture: PictureField, name: str, *, film: bool = False) -> Blob | str:
        """A file that may be a picture, or a URL that may be fetched. film: it may be a film as well."""
        looked_at.get()()
        with naming(name):
            if picture.url is not None:
                return await self._own_result(picture.url) or self._swaps.checked_url(picture.url)
            if film:
                return Blob(picture.data, check_source(picture.data, self._limits, self._films))
            return Blob(picture.data, check(picture.data, self._limits))

    async def data(self, picture: Blob | str, name: str) -> bytes:
        """The bytes of what was checked, fetched where they are elsewhere."""
        if isinstance(picture, Blob):
            return picture.data
        with naming(name):
            return (await self._swaps.fetch(picture)).data

    async def _own_result(self, url: str) -> Blob | None:
        path = url.removeprefix(self._here)
        return await self._swaps.result(path.removeprefix(RESULTS)) if path.startswith(RESULTS) else None


Sources = Annotated[_Sources, Depends()]
"""The parameter of a route whose pictures these are."""
