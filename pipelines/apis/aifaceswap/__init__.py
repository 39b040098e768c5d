"""The aifaceswap API."""

BASE = "/api/aifaceswap/v1"
PATHS = ("/api/aifaceswap",)
"""Those paths, and what lies below them, are its own."""
