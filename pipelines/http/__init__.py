"""What the APIs share in HTTP: uploads, downloads, keys, documents, health, metrics."""
