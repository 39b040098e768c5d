"""What a deployment answers from afar is what its protocol says, and nothing else is answered."""

import asyncio
import inspect
import runpy
from typing import Any, get_type_hints
from unittest.mock import patch

import pytest

from prosopon.deployments import services
from prosopon.deployments.courier import Courier
from prosopon.deployments.detector import Detector
from prosopon.deployments.face_index import FaceIndex
from prosopon.deployments.face_model import FaceModelReplica
from prosopon.deployments.generator import Generator
from prosopon.deployments.identifier import Identifier
from prosopon.deployments.inverter import Inverter
from prosopon.deployments.serving.messages import Rejected
from prosopon.deployments.serving.remote import methods_of, remote
from prosopon.deployments.swap_worker import SwapWorker
from prosopon.deployments.video_encoder import VideoEncoder

DEPLOYED: list[tuple[type, Any]] = [
    (services.DetectorService, Detector),
    (services.FaceModelService, FaceModelReplica),
    (services.FaceIndexService, FaceIndex),
    (services.IdentifierService, Identifier),
    (services.GeneratorService, Generator),
    (services.VideoEncoderService, VideoEncoder),
    (services.InverterService, Inverter),
    (services.SwapWorkerService, SwapWorker),
    (services.Pokeable, Courier),
]


with patch("typing.TYPE_CHECKING", True):
    NAMES = runpy.run_path(services.__file__)
    """What the protocols' types are, which `services` itself imports for the type checker alone."""


def alternatives(hint: Any) -> set[Any]:
    """Of a union its parts, without what a caller gets as an exception."""
    return (
        {part for part in getattr(hint, "__args__", ()) if part is not Rejected} if _union(hint) else {hint}
    )


def _union(hint: Any) -> bool:
    return type(hint).__name__ in ("UnionType", "_UnionGenericAlias")


@pytest.mark.parametrize(("service", "deployment"), DEPLOYED, ids=lambda one: getattr(one, "__name__", ""))
def test_a_deployment_answers_what_its_protocol_says(service: type, deployment: Any) -> None:
    named = list(methods_of(service))
    assert named
    for name in named:
        promised, kept = getattr(service, name), getattr(deployment.func_or_class, name)
        assert list(inspect.signature(kept).parameters) == list(inspect.signature(promised).parameters), name
        promise, answer = get_type_hints(promised, NAMES), get_type_hints(kept)
        assert alternatives(answer.pop("return")) == alternatives(promise.pop("return")), name
        assert answer == promise, name


def test_every_protocol_is_that_of_a_deployment() -> None:
    declared = {
        one
        for one in vars(services).values()
        if inspect.isclass(one)
        and one.__module__ == services.__name__
        and one is not services.DescribesModels
    }
    assert declared == {service for service, _ in DEPLOYED}


def test_what_no_protocol_names_cannot_be_called() -> None:
    class Handle:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} was looked up before it was called for")

    class Method:
        async def answer(self, *args: Any) -> Any:
            return args

        def remote(self, *args: Any) -> Any:
            return self.answer(*args)

    handle = Handle()
    handle.poke = Method()  # type: ignore[attr-defined]
    pokeable = remote(handle, services.Pokeable)  # type: ignore[arg-type]
    assert asyncio.run(pokeable.poke()) == ()  # type: ignore[func-returns-value]
    for name in ("close", "describe", "check_health", "__reduce_ex__x"):
        with pytest.raises(AttributeError):
            getattr(pokeable, name)
