"""The CheckFace API. A name that no other API has is one of its texts."""

BASE = "/api"
PATHS = ("/status", BASE)
"""Those paths, and what lies below them, are its own."""
