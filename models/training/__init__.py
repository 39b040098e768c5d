"""How our own weights were made. Not installed, and nothing here is needed to serve them."""
