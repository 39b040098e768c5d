"""The latents that a request names: by a text, by a seed, by the guid of a registered one, or mixed of several."""

import uuid
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query, Request

from prosopon.models.generation.latents import (
    Latent,
    LatentError,
    Mixture,
    Part,
    latent_of_seed,
    mixed,
    seed_of,
)
from prosopon.pipelines.apis.checkface.errors import LatentNotFound
from prosopon.pipelines.apis.checkface.wire import within
from prosopon.pipelines.graphs.generation import Generation
from prosopon.pipelines.http.bodies import AN_ID
from prosopon.pipelines.services import Served

_MAX_MIXTURE = 16


@dataclass(frozen=True, slots=True)
class Named:
    """seed: of the one latent of the mixture, where it has one."""

    mixture: Mixture
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Ends:
    """Of a morph."""

    start: Latent
    end: Latent


@dataclass(frozen=True, slots=True)
class _Name:
    """The guid wins over the seed, and the seed over the value. seed_parameter: its name, for what is wrong with it."""

    value: str = ""
    seed: str | None = None
    guid: str | None = None
    seed_parameter: str = "seed"

    async def find(self, generation: Generation) -> tuple[Latent, int | None]:
        """The latent, with its seed where it has one. Raises `LatentError` and `LatentNotFound`."""
        if self.guid is not None:
            return await _registered(generation, self.guid), None
        seed = seed_of(self.value) if self.seed is None else _integer(self.seed_parameter, self.seed)
        return latent_of_seed(seed), seed


def _name(prefix: str = "") -> Any:
    """The parameters value, seed and guid, with the prefix before their names."""

    async def name(
        value: Annotated[str, Query(alias=f"{prefix}value", description="any text", examples=["Ann"])] = "",
        seed: Annotated[
            str | None,
            Query(alias=f"{prefix}seed", description="an integer, wins over value", examples=["42"]),
        ] = None,
        guid: Annotated[
            str | None,
            Query(
                alias=f"{prefix}guid",
                description="of a registered latent, wins over both",
                examples=[AN_ID],
            ),
        ] = None,
    ) -> _Name:
        return _Name(value, seed, guid, f"{prefix}seed")

    return Depends(name)


async def _mixture(
    request: Request,
    services: Served,
    name: Annotated[_Name, _name()],
    num_multi: Annotated[
        int,
        *within(
            1,
            _MAX_MIXTURE,
            0,
            "latents to mix: value0, seed0, guid0, amount0 and so on; amounts are -2..2, 1/n where missing",
            example=2,
        ),
    ] = 0,
) -> Named:
    if not num_multi:
        latent, seed = await name.find(services.generation)
        return Named((Part(latent),), seed)
    query, latents = request.query_params, []
    for number in range(num_multi):
        part = _Name(
            query.get(f"value{number}", ""),
            query.get(f"seed{number}"),
            query.get(f"guid{number}"),
            f"seed{number}",
        )
        latents.append((await part.find(services.generation))[0])
    return Named(mixed(latents, [_amount(query.get(f"amount{number}")) for number in range(num_multi)]))


async def _ends(
    services: Served, start: Annotated[_Name, _name("from_")], end: Annotated[_Name, _name("to_")]
) -> Ends:
    generation = services.generation
    return Ends((await start.find(generation))[0], (await end.find(generation))[0])


Mixed = Annotated[Named, Depends(_mixture)]
"""The parameter of a route of one face."""
Morphed = Annotated[Ends, Depends(_ends)]
"""The parameter of a route of two faces."""


async def _registered(generation: Generation, text: str) -> Latent:
    try:
        guid = uuid.UUID(text)
    except ValueError:
        raise LatentError(f"{text[:64]!r} is not a guid") from None
    latent = await generation.registered(guid)
    if latent is None:
        raise LatentNotFound(guid)
    return latent


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise LatentError(f"'{name}' must be an integer, not {text[:64]!r}") from None


def _amount(text: str | None) -> float | None:
    try:
        amount = float(text or "")
    except ValueError:
        return None
    return amount if amount == amount else None  # not a number is no amount
