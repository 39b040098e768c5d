"""The CompreFace API."""

BASE = "/api/v1"
PATHS = (BASE,)
"""Those paths, and what lies below them, are its own."""
