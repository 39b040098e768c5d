"""Bulk ingestion: pictures into the public index."""
