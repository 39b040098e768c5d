"""The CheckFace API (base ``/api``)."""
