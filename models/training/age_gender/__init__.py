"""Training of the network that tells age and gender, see `models/weights/AGE_GENDER.md`."""
