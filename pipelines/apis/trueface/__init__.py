"""The Trueface (chui) API (base ``/v1``)."""
