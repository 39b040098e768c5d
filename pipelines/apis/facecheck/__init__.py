"""The FaceCheck API (base ``/api``)."""
