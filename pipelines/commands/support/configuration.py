"""The settings object out of a Serve config file, and what is wrong with one, in a line for each."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError

import prosopon
from prosopon.configs.settings import Settings
from prosopon.models.load import check_names

TEMPLATE = Path(prosopon.__file__).with_name("serve_config.yaml")
"""What `prosopon init` writes, and `prosopon serve` takes where it is given no file."""

_LIKE = 0.6
_SAID = {"path_type": "Input should be a path"}
"""In place of what names a class of Python."""
_SHOWN = 60


class _Address(BaseModel):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000


class ConfigurationError(Exception):
    """What is wrong with a configuration, in a line for each: the file, the place in it, the value, what was meant."""


def read_document(config: Path | None) -> dict[str, Any]:
    """A Serve config file with an application; the template without one. Raises `ConfigurationError`."""
    path = config or TEMPLATE
    try:
        document: Any = yaml.safe_load(path.read_text())
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is no text") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigurationError(f"{where}: is not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: is not YAML: {str(error).splitlines()[0]}") from None
    named: dict[str, Any] = document if isinstance(document, dict) else {}
    applications = named.get("applications")
    if not isinstance(applications, list) or not applications or not isinstance(applications[0], dict):
        raise ConfigurationError(
            f"{path}: names no application: a Serve config file has `applications`, a list, whose first entry's `args`"
            f" are the settings; `prosopon init` writes one"
        )
    return named


def read_address(config: Path | None) -> tuple[str, int]:
    """The host and the port that the file has the server listen at. Raises `ConfigurationError`."""
    options = read_document(config).get("http_options") or {}
    try:
        address = _Address.model_validate(options)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_lines(str(config), error, "http_options"))) from None
    return address.host, address.port


def read_settings(config: Path | None) -> Settings:
    """The `args` of the file's first application; the defaults without a file. Raises `ConfigurationError`."""
    args = read_document(config)["applications"][0].get("args") if config else None
    where = str(config) if config else "the environment"
    try:
        return check_names(Settings.model_validate(args or {}))
    except ValidationError as error:
        raise ConfigurationError("\n".join(_lines(where, error, "args"))) from None
    except ValueError as error:
        raise ConfigurationError(f"{where}: args.{error}") from None


def _lines(where: str, error: ValidationError, top: str) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        place = ".".join([top, *map(str, problem["loc"])])
        if problem["type"] == "extra_forbidden":
            yield f"{where}: {place}: there is no such setting{_meant(problem['loc'])}"
            continue
        given = repr(problem["input"])
        given = f"{given[:_SHOWN]}..." if len(given) > _SHOWN else given
        said = _SAID.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        yield f"{where}: {place}: {given}: {_uncapitalised(said)}"


def _meant(place: Sequence[int | str]) -> str:
    """The settings beside an unknown one, or the one that its name is like."""
    *path, name = place
    names = _names(Settings, [str(part) for part in path])
    if close := difflib.get_close_matches(str(name), names, 1, _LIKE):
        return f"; did you mean `{close[0]}`?"
    elsewhere = [".".join(found) for found in _all(Settings) if found[-1] == name]
    if elsewhere:
        return f" here; there is `args.{elsewhere[0]}`"
    return f"; there are: {', '.join(names)}" if names else ""


def _names(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        inner = field and _model(field.annotation)
        if not inner:
            return []
        model = inner
    return list(model.model_fields)


def _all(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        yield (*above, name)
        if inner := _model(field.annotation):
            yield from _all(inner, (*above, name))


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, also an optional one."""
    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]
