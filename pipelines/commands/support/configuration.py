"""The settings object out of a Serve config file."""

from pathlib import Path

import yaml

from prosopon.configs.settings import Settings


def read_settings(config: Path | None) -> Settings:
    """The `args` of the file's first application; the defaults without a file."""
    if config is None:
        return Settings()
    document = yaml.safe_load(config.read_text())
    return Settings.model_validate(document["applications"][0].get("args") or {})
