"""Readers of other formats, used when weights are prepared."""
