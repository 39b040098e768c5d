"""Calls to deployments, as pipelines and routes know them."""

from deployments.calls import ModelFailed, Overloaded, Unavailable, call

__all__ = ["ModelFailed", "Overloaded", "Unavailable", "call"]
