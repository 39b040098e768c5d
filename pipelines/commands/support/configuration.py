"""The settings object out of a Serve config file."""

from pathlib import Path

import yaml

from prosopon.configs.settings import Settings
from prosopon.models.load import check_names


def read_settings(config: Path | None) -> Settings:
    """The `args` of the file's first application; the defaults without a file. Raises ValueError."""
    if config is None:
        return Settings()
    document = yaml.safe_load(config.read_text())
    return check_names(Settings.model_validate(document["applications"][0].get("args") or {}))
