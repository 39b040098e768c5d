"""`prosopon serve` before anything is started."""

import socket
from pathlib import Path

from typer.testing import CliRunner

from pipelines.cli import app


def test_a_taken_port_is_refused_before_the_home_is_touched(tmp_path: Path) -> None:
    home = tmp_path / "home"
    config = tmp_path / "serve_config.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(
            f"http_options: {{host: 127.0.0.1, port: {port}}}\n"
            f"applications: [{{name: prosopon, args: {{state: {{home: {home}}}}}}}]\n"
        )
        result = CliRunner().invoke(app, ["serve", str(config)])
    assert result.exit_code == 1
    assert f"127.0.0.1:{port} is taken" in result.output and "http_options.port" in result.output
    assert not home.exists()
