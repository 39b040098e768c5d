"""The table of attributes, out of the files of this folder. Whoever lists attributes or their roles reads it here."""

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from prosopon.configs.settings import DeploymentSettings
from prosopon.models.faces import attributes
from prosopon.models.faces.attributes.declaration import FaceAttribute, FaceRole


class Attributes(Mapping[str, FaceAttribute[Any]]):
    """Attributes by their names."""

    def __init__(self, declared: Iterable[FaceAttribute[Any]]) -> None:
        self._by_name = {attribute.name: attribute for attribute in declared}

    def __getitem__(self, name: str) -> FaceAttribute[Any]:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def roles(self) -> dict[str, FaceRole[Any]]:
        """The roles of their models, by name."""
        return {attribute.role.name: attribute.role for attribute in self.values() if attribute.role}

    @property
    def resources(self) -> dict[str, DeploymentSettings]:
        """Role -> what its deployment has by default."""
        return {name: role.resources for name, role in self.roles.items()}

    def called(self, api: str) -> dict[str, FaceAttribute[Any]]:
        """What an API serves, by its names there."""
        return {attribute.called[api]: attribute for attribute in self.values() if api in attribute.called}

    def plus(self, *more: FaceAttribute[Any]) -> "Attributes":
        """A table with these besides."""
        return Attributes([*self.values(), *more])


def _declared() -> Iterator[FaceAttribute[Any]]:
    for module in iter_modules(attributes.__path__, f"{attributes.__name__}."):
        if module.name != __name__:
            things = vars(import_module(module.name)).values()
            yield from (thing for thing in things if isinstance(thing, FaceAttribute))


ATTRIBUTES = Attributes(_declared())
