"""Prosopon: five documented face APIs, one Ray Serve application, one set of models.

``from prosopon import Prosopon`` joins a running application; see `pipelines/python/handles.py`. What stands beside
this file are links to the folders at the top of the repository: installed, all of them are parts of this one package.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prosopon.pipelines.python.handles import Prosopon

__all__ = ["Prosopon"]


def __getattr__(name: str) -> Any:
    """The handles, imported when they are asked for: a replica that serves a model has no use for them."""
    if name in __all__:
        from prosopon.pipelines.python import handles

        return getattr(handles, name)
    raise AttributeError(f"module 'prosopon' has no attribute '{name}'")
