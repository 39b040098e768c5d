"""Faces that nobody has: latents and generators."""
