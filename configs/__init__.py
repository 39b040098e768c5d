"""The settings schema and the ready-made configurations."""
