"""How the inversion's own weights were made; nothing here is needed to serve them."""
