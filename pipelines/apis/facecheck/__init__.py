"""The FaceCheck API."""

BASE = "/api"
PATHS = tuple(f"{BASE}/{route}" for route in ("upload_pic", "search", "delete_pic", "info"))
"""Those paths, and what lies below them, are its own."""
