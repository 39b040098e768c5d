"""Sessions, devices and threads; prepared forms of files; fingerprints."""
