"""What a home has settled on where several artifacts may serve a role.

Stored embeddings are compared with those of one embedder alone: a home keeps the one that it started with, whatever
else can be had later. `prosopon reembed --embedder` changes it.
"""

import json
from pathlib import Path

from prosopon.configs.settings import ModelSettings, Role, Settings
from prosopon.models.weights.catalogue import CATALOGUE, PACKS
from prosopon.models.weights.checksums import write_atomically
from prosopon.models.weights.registry import Registry, State, artifacts_for

FILE = "models.json"


def read(home: Path) -> dict[Role, str]:
    """Role -> artifact. Raises ValueError where the file is damaged."""
    try:
        pins: dict[Role, str] = json.loads((home / FILE).read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{home / FILE} is damaged: {error}") from None
    return pins


def write(home: Path, role: Role, artifact: str) -> None:
    """Settle on an artifact."""
    home.mkdir(parents=True, exist_ok=True)
    write_atomically(home / FILE, json.dumps({**read(home), role: artifact}, indent=2).encode() + b"\n")


def settle(settings: Settings) -> Settings:
    """The settings with what the home has pinned in place of a choice.

    A role for which nothing is pinned yet gets the preferred of the artifacts that are on this machine, for good.
    """
    home, models, registry = settings.state.home, settings.models, Registry.of(settings.models)
    pins = read(home)
    for role in open_choices(models):
        if role not in pins:
            here = (a.name for a in artifacts_for(models, role) if registry.state(a) is State.READY)
            if name := next(here, None):
                write(home, role, name)
                pins[role] = name
    return settings.model_copy(update={"models": with_pins(models, pins)})


def open_choices(models: ModelSettings) -> list[Role]:
    """The roles for which these settings leave a choice."""
    if models.pack not in PACKS:
        return []
    roles = dict.fromkeys(CATALOGUE[name].role for name in PACKS[models.pack].artifacts)
    return [role for role in roles if len(artifacts_for(models, role)) > 1]


def with_pins(models: ModelSettings, pins: dict[Role, str]) -> ModelSettings:
    """The settings with pinned artifacts as overrides where they leave a choice."""
    chosen = {role: name for role, name in pins.items() if len(artifacts_for(models, role)) > 1}
    return models.model_copy(update={"overrides": {**models.overrides, **chosen}})
