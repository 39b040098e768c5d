"""The Trueface (chui) API."""

BASE = "/v1"
PATHS = (BASE,)
"""Those paths, and what lies below them, are its own."""
