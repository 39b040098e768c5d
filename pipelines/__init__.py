"""Compositions of deployments, the routes of each API, the application builder and the command line."""
