"""The CompreFace REST API (base ``/api/v1``)."""
