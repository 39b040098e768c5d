"""One package for each API: its routes, wire types and errors."""
