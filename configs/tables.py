"""Every setting with its default, as the tables of docs/configuration.md."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from prosopon.configs.settings import Deployments, DeploymentSettings, Settings

ENVIRONMENT = {
    "models.directory": "`PROSOPON_MODELS`, or `~/.cache/prosopon/models`",
    "models.mirror": "`PROSOPON_MODELS_MIRROR`, or none",
    "state.home": "`PROSOPON_HOME`, or `~/.prosopon`",
    "state.database_url": "`PROSOPON_DATABASE_URL`, or SQLite under `home`",
    "state.blobs_url": "`PROSOPON_BLOBS_URL`, or a folder under `home`",
    "state.vectors_uri": "`PROSOPON_VECTORS_URI`, or a Milvus Lite file under `home`",
    "state.vectors_token": "`PROSOPON_VECTORS_TOKEN`, or none",
}
"""Defaults out of the environment."""


def markdown(faces: Mapping[str, DeploymentSettings]) -> str:
    """The whole page. faces: role of faces -> the resources of its deployment."""
    lines = ["# Configuration", "", *_prose(Settings)]
    lines += [
        "Made by `prosopon settings`. In a Serve config file these are the `args` of the application.",
        "",
    ]
    sections = {name: field for name, field in Settings.model_fields.items() if _is_section(field)}
    lines += _table(
        [_row(name, field) for name, field in Settings.model_fields.items() if name not in sections]
    )
    for name, field in sections.items():
        if name == "deployments":
            continue
        model = field.annotation
        assert isinstance(model, type) and issubclass(model, BaseModel)
        lines += [f"## {name}", "", *_prose(model)]
        lines += _table([_row(f"{name}.{key}", one) for key, one in model.model_fields.items()])
    return "\n".join(lines + list(_deployments(faces))).rstrip() + "\n"


def _deployments(faces: Mapping[str, DeploymentSettings]) -> Iterator[str]:
    yield from ("## deployments", "", *_prose(DeploymentSettings), *_prose(Deployments))
    shown = list(DeploymentSettings.model_fields)
    plain = DeploymentSettings()
    yield from _table([(f"deployments.*.{name}", _shown(getattr(plain, name))) for name in shown])
    yield "What differs from that by default:"
    yield ""
    rows = []
    fields = {name: getattr(Deployments(), name) for name in Deployments.model_fields}
    for name, own in {**fields, **faces}.items():
        changes = [
            f"{key} {getattr(own, key):g}" for key in shown if getattr(own, key) != getattr(plain, key)
        ]
        rows.append((f"deployments.{name}", ", ".join(changes) or "nothing"))
    yield from _table(rows)


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _row(name: str, field: FieldInfo) -> tuple[str, str]:
    if name in ENVIRONMENT:
        return name, ENVIRONMENT[name]
    return name, _shown(field.get_default(call_default_factory=True))


def _shown(value: Any) -> str:
    if value is None or value in ("", (), {}):
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else str(value)


def _prose(model: type[BaseModel]) -> list[str]:
    return [*inspect.cleandoc(model.__doc__ or "").splitlines(), ""]


def _table(rows: list[tuple[str, str]]) -> list[str]:
    return [
        "| setting | default |",
        "|---|---|",
        *(f"| `{name}` | {default} |" for name, default in rows),
        "",
    ]
