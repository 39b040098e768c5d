"""What is said of a configuration that cannot be: the file, the place, the value and what was meant, in a line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from prosopon.configs.settings import Settings
from prosopon.pipelines.cli import app
from prosopon.pipelines.commands.support.configuration import (
    TEMPLATE,
    ConfigurationError,
    read_address,
    read_document,
    read_settings,
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("args: {}", ": names no application: .*`prosopon init` writes one"),
        ("[1, 2]", ": names no application"),
        ("", ": names no application"),
        ("applications:\n  - {args: [}", r":2:13: is not YAML: "),
        ("applications: [{args: {detection: {max_side: 10}}}]", ": args.detection.max_side: 10: .*64"),
        (
            "applications: [{args: {detection: {max_sides: 10}}}]",
            "no such setting; did you mean `max_side`\\?",
        ),
        (
            "applications: [{args: {max_pixels: 10}}]",
            "no such setting here; there is `args.images.max_pixels`",
        ),
        ("applications: [{args: {apis: [compface]}}]", "args.apis.0: 'compface': .*'compreface'"),
        ("applications: [{args: {state: {home: 3}}}]", "args.state.home: 3: input should be a path$"),
        ("applications: [{args: {fetch: {zzz: 1}}}]", "no such setting; there are: allow, seconds"),
        (
            "applications: [{args: {models: {overrides: {detektor: x}}}}]",
            "args.models.overrides: unknown: detektor",
        ),
        (
            "applications: [{args: {deployments: {face_index: {max_replicas: 2}}}}]",
            "args: .*a Milvus Lite file has one writer",
        ),
    ],
)
def test_a_mistake_is_one_line(text: str, says: str, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(text)
    with pytest.raises(ConfigurationError) as error:
        read_document(config)
        read_settings(config)
    assert re.match(f"{re.escape(str(config))}.*{says}", str(error.value)) and "\n" not in str(error.value)


def test_every_mistake_has_a_line(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("applications: [{args: {cor: 1, swap: {format: gif}}}]")
    with pytest.raises(ConfigurationError) as error:
        read_settings(config)
    assert len(str(error.value).splitlines()) == 2


def test_an_address_that_cannot_be_is_said_so(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("http_options: {port: http}\napplications: [{args: {}}]")
    with pytest.raises(ConfigurationError, match=r"http_options\.port: 'http': .*integer"):
        read_address(config)


def test_the_configuration_that_is_written_is_the_default(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["init", str(tmp_path / "serve_config.yaml")])
    assert result.exit_code == 0 and "prosopon serve" in result.output
    written = tmp_path / "serve_config.yaml"
    assert read_settings(written) == Settings() and read_address(written) == ("127.0.0.1", 8000)
    again = CliRunner().invoke(app, ["init", str(written)])
    assert again.exit_code == 2 and "stays as it is" in " ".join(again.output.split())


def test_every_example_in_it_is_one() -> None:
    """What stands behind a `#` and looks like YAML, put in force."""
    text = re.sub(r"^( *)# ((?:  )*[a-z_]+:.*)$", r"\1\2", TEMPLATE.read_text(), flags=re.MULTILINE)
    settings = Settings.model_validate(yaml.safe_load(text)["applications"][0]["args"])
    assert settings.fetch.allow and settings.cors and settings.models.overrides
    assert settings.images.max_bytes == 20 << 20 and settings.deployments.detector.num_cpus == 4


def test_without_arguments_the_way_is_shown() -> None:
    result = CliRunner().invoke(app, [])
    assert "prosopon serve" in result.output and "prosopon init" in result.output
    assert re.fullmatch(r"prosopon \d+\.\d+\.\d+\n", CliRunner().invoke(app, ["--version"]).output)


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that nobody may write to, root neither")
@pytest.mark.parametrize("command", [["serve"], ["keys", "list", "--config"]])
def test_a_home_that_cannot_be_written_is_one_line(command: list[str], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    args = {"state": {"home": "/sys/prosopon"}, "apis": []}
    config.write_text(yaml.safe_dump({"applications": [{"args": args}]}))
    program = [sys.executable, "-m", "prosopon.pipelines.cli", *command, str(config)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("prosopon: /sys/prosopon: ")
