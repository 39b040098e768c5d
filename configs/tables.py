"""Every setting with its default, as the tables of docs/configuration.md."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from prosopon.configs.settings import Deployments, DeploymentSettings, Settings

Row = tuple[str, str, str]
"""A setting, its default, and what it is."""
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
    sections = {name: model for name, field in Settings.model_fields.items() if (model := _section(field))}
    lines += _table(
        [_row(name, field) for name, field in Settings.model_fields.items() if name not in sections]
    )
    for name, model in sections.items():
        if model is not Deployments:
            lines += [f"## {name}", "", *_prose(model), *_table(_rows(name, model))]
    return "\n".join(lines + list(_deployments(faces))).rstrip() + "\n"


def _rows(prefix: str, model: type[BaseModel]) -> Iterator[Row]:
    """Of every setting of a section, and of the sections in it."""
    for name, field in model.model_fields.items():
        if inner := _section(field):
            yield from _rows(f"{prefix}.{name}", inner)
        else:
            yield _row(f"{prefix}.{name}", field)


def _deployments(faces: Mapping[str, DeploymentSettings]) -> Iterator[str]:
    yield from ("## deployments", "", *_prose(DeploymentSettings), *_prose(Deployments))
    shown = list(DeploymentSettings.model_fields)
    plain = DeploymentSettings()
    yield from _table(_rows("deployments.*", DeploymentSettings))
    yield "What differs from that by default:"
    yield ""
    rows = []
    fields = {name: getattr(Deployments(), name) for name in Deployments.model_fields}
    for name, own in {**fields, **faces}.items():
        changes = [
            f"{key} {getattr(own, key):g}" for key in shown if getattr(own, key) != getattr(plain, key)
        ]
        told = Deployments.model_fields[name].description if name in fields else "A model of faces."
        rows.append((f"deployments.{name}", ", ".join(changes) or "nothing", told or ""))
    yield from _table(rows)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _row(name: str, field: FieldInfo) -> Row:
    default = ENVIRONMENT.get(name) or _shown(field.get_default(call_default_factory=True))
    return name, default, " ".join((field.description or "").split())


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


def _table(rows: Iterable[Row]) -> list[str]:
    return [
        "| setting | default | |",
        "|---|---|---|",
        *(f"| `{name}` | {default} | {told} |" for name, default, told in rows),
        "",
    ]
