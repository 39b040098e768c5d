"""The vector index and the searches in it."""
