"""Pictures that are costly to decode: who is refused is refused at once, and nobody waits behind another's flood."""

import asyncio
import io
import time
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
AT_ONCE = 0.1


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


async def asked(analyzer: FaceAnalyzer, image: bytes, whose: str) -> tuple[Picture | Overloaded, float]:
    caller.set(whose)
    began = time.perf_counter()
    try:
        answer: Picture | Overloaded = await analyzer.analyze(image)
    except Overloaded as error:
        answer = error
    return answer, time.perf_counter() - began


@pytest.mark.anyio
async def test_a_flood_of_costly_pictures_is_refused_at_once_and_holds_nobody_else_up() -> None:
    detector = Decoding()
    queue, costly = FairQueue(2, 0, "pictures wait"), FairQueue(1, WAITING, "costly pictures wait", 5)
    analyzer = FaceAnalyzer(cast(Any, detector), {}, ATTRIBUTES, {}, LIMITS, queue, costly)

    def ask(image: bytes, whose: str) -> asyncio.Task[tuple[Picture | Overloaded, float]]:
        return asyncio.create_task(asked(analyzer, image, whose))

    flood = [ask(COSTLY, "flooding") for _ in range(1 + WAITING + 3)]
    await asyncio.sleep(0)
    refused = await asyncio.gather(*flood[1 + WAITING :])
    assert all(isinstance(answer, Overloaded) and answer.retry_after == 5 for answer, _ in refused)
    assert max(took for _, took in refused) < AT_ONCE
    answer, took = await ask(ORDINARY, "other")
    assert isinstance(answer, Picture) and took < AT_ONCE, "what is not costly does not wait for what is"
    others = ask(COSTLY, "other")
    await asyncio.sleep(0)
    detector.go_on.set()
    answer, _ = await others
    assert isinstance(answer, Picture), "the newest of the flood has made room"
    served = [isinstance(answer, Picture) for answer, _ in await asyncio.gather(*flood[: 1 + WAITING])]
    assert served == [True] * WAITING + [False]
    assert detector.seen.index("other") <= 2, "callers take turns"
