"""`prosopon deploy`: a changed configuration for a running application."""

import time
from pathlib import Path
from typing import Annotated

import typer

_POLL_SECONDS = 0.5


def deploy(
    config: Annotated[Path, typer.Argument(help="a Serve config file", exists=True, dir_okay=False)] = Path(
        "serve_config.yaml"
    ),
    timeout: Annotated[float, typer.Option(help="seconds to wait for")] = 600,
) -> None:
    """Apply a configuration to the application that runs over its state, and wait until it does.

    What changes under `args` replaces the replicas of every deployment, one after the other; what changes in a
    deployment's own entry under `deployments` replaces that deployment's. With two ingress replicas or more no
    request is lost. Where another process serves, it must be able to read the new configuration's models.
    """
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema
    from rich.console import Console

    from prosopon.models.faces.attributes.table import ATTRIBUTES
    from prosopon.models.weights.pull import pull_missing
    from prosopon.pipelines.commands.support.configuration import read_document, read_settings
    from prosopon.pipelines.running import NotRunning, join

    console = Console(stderr=True)
    settings = read_settings(config)
    schema = ServeDeploySchema.model_validate(read_document(config))
    pull_missing(settings, settings.roles(ATTRIBUTES.roles), console)
    try:
        join(home=settings.state.home)
    except NotRunning as error:
        raise typer.BadParameter(str(error)) from None
    _get_global_client().deploy_apps(schema)
    names = [application.name for application in schema.applications]
    started = time.monotonic()
    with console.status("replacing replicas"):
        while True:
            applications = serve.status().applications
            states = [applications[name].status for name in names if name in applications]
            if "DEPLOY_FAILED" in states:
                for name in names:
                    console.print(f"[red]{name}:[/red] {applications[name].message}")
                raise typer.Exit(1)
            if len(states) == len(names) and set(states) == {"RUNNING"}:
                break
            if time.monotonic() - started > timeout:
                console.print(f"[red]not done after {timeout:.0f} s[/red]")
                raise typer.Exit(1)
            time.sleep(_POLL_SECONDS)
    console.print(f"[bold green]deployed[/bold green] after {time.monotonic() - started:.1f} s")
