"""What several commands share: reading the configuration, progress, tables, the end of a server."""
