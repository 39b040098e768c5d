"""Pictures that are costly to decode: who is refused is refused at once, and nobody waits behind another's flood."""

import asyncio
import io
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from prosopon.configs.settings import ImageLimits
from prosopon.deployments.serving.calls import Overloaded
from prosopon.deployments.serving.fair_queue import FairQueue, caller
from prosopon.deployments.serving.messages import DetectRequest, FacesFound
from prosopon.models.faces.attributes.table import ATTRIBUTES
from prosopon.models.faces.detections import Detections
from prosopon.models.pictures.decoding import is_costly
from prosopon.pipelines.graphs.face_analysis import FaceAnalyzer, Picture

LIMITS = ImageLimits()
WAITING = 4


def file(format: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 24)).save(stream, format)
    return stream.getvalue()


COSTLY, ORDINARY = file("TIFF"), file("JPEG")


class Decoding:
    """A detector that finds nobody, and is at work on costly pictures until it is told to go on."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.seen: list[str] = []

    async def detect(self, request: DetectRequest) -> FacesFound:
        if is_costly(cast(bytes, request.image), LIMITS):
            self.seen.append(caller.get())
            await self.go_on.wait()
        nobody = Detections(np.empty((0, 4), "f4"), np.empty(0, "f4"), np.empty((0, 5, 2), "f4"))
        return FacesFound(32, 24, nobody, {}, {}, 0.0)


async def asked(analyzer: FaceAnalyzer, image: bytes, whose: str) -> Picture | Overloaded:
    caller.set(whose)
    try:
        return await analyzer.analyze(image)
    except Overloaded as error:
        return error


@pytest.mark.anyio
async def test_a_flood_of_costly_pictures_is_refused_at_once_and_holds_nobody_else_up() -> None:
    detector = Decoding()
    queue, costly = FairQueue(2, 0, "pictures wait"), FairQueue(1, WAITING, "costly pictures wait", 5)
    analyzer = FaceAnalyzer(cast(Any, detector), {}, ATTRIBUTES, {}, LIMITS, queue, costly)

    def ask(image: bytes, whose: str) -> asyncio.Task[Picture | Overloaded]:
        return asyncio.create_task(asked(analyzer, image, whose))

    flood = [ask(COSTLY, "flooding") for _ in range(1 + WAITING + 3)]
    await asyncio.sleep(0)
    # Whoever waited for a costly picture to be done would do so for ever.
    refused = await asyncio.wait_for(asyncio.gather(*flood[1 + WAITING :]), 30)
    assert all(isinstance(answer, Overloaded) and answer.retry_after == 5 for answer in refused)
    assert isinstance(await asyncio.wait_for(ask(ORDINARY, "other"), 30), Picture)
    others = ask(COSTLY, "other")
    await asyncio.sleep(0)
    detector.go_on.set()
    assert isinstance(await others, Picture), "the newest of the flood has made room"
    served = [isinstance(answer, Picture) for answer in await asyncio.gather(*flood[: 1 + WAITING])]
    assert served == [True] * WAITING + [False]
    assert detector.seen.index("other") <= 2, "callers take turns"
