"""`prosopon keys`: create, list, revoke, top up, and the secrets that sign webhooks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from prosopon.deployments.state.keys import KeyStore

app = typer.Typer(help="API keys: create, list, revoke, top up, sign webhooks.", no_args_is_help=True)

Config = Annotated[
    Path | None,
    typer.Option(help="A Serve config file that names the database.", exists=True, dir_okay=False),
]
KeyId = Annotated[int, typer.Argument(help="The key's number, as `list` shows it.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="Repeatable. Without any: every API, but not `admin`.")
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(
            help="Share enrollments, collections, searches and tasks with the keys of this tenant (default: with none)."
        ),
    ] = None,
    gallery: Annotated[
        str | None,
        typer.Option(help="Name of a gallery to share between the tenant's keys (default: one of its own)."),
    ] = None,
    credits: Annotated[int | None, typer.Option(help="Balance (default: without limit).")] = None,
    config: Config = None,
) -> None:
    """Make a key and print it, this once."""
    from typing import cast

    from rich.console import Console

    from prosopon.deployments.state.errors import StateError
    from prosopon.deployments.state.keys import API_SCOPES, Scope

    scopes = cast(list[Scope], scope) if scope else list(API_SCOPES)
    try:
        key, secret = _store(config).create(name, scopes, tenant=tenant, gallery=gallery, credits=credits)
    except StateError as error:
        raise typer.BadParameter(str(error)) from None
    Console(stderr=True).print(f"key {key.id}, {', '.join(sorted(key.scopes))}; shown this once:")
    typer.echo(secret)


@app.command("list")
def list_keys(config: Config = None) -> None:
    """Every key, without the part that is secret."""
    from rich.table import Table

    from prosopon.deployments.state.keys import API_SCOPES, SCOPES
    from prosopon.pipelines.commands.support.tables import show

    table = Table(title="Keys")
    for column in ("id", "name", "key", "tenant", "gallery", "scopes", "credits", "created", "revoked"):
        table.add_column(column, justify="right" if column in ("id", "credits") else "left")
    named: dict[frozenset[str], str] = {frozenset(SCOPES): "all", frozenset(API_SCOPES): "every API"}
    for key in _store(config).list():
        table.add_row(
            str(key.id),
            key.name,
            f"{key.prefix}-...",
            str(key.tenant),
            str(key.gallery),
            named.get(key.scopes) or ", ".join(sorted(key.scopes)),
            "unlimited" if key.credits is None else str(key.credits),
            f"{key.created:%Y-%m-%d %H:%M}",
            f"{key.revoked:%Y-%m-%d %H:%M}" if key.revoked else "",
        )
    show(table)


@app.command()
def revoke(key: KeyId, config: Config = None) -> None:
    """Stop a key from working. What was stored with it stays."""
    from prosopon.deployments.state.errors import KeyNotFound

    try:
        _store(config).revoke(key)
    except KeyNotFound as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(f"key {key} is revoked")


@app.command()
def top_up(
    key: KeyId, amount: Annotated[int, typer.Argument(help="Credits to add.", min=1)], config: Config = None
) -> None:
    """Add credits to a key and print its balance. A key without limit gets one."""
    from prosopon.deployments.state.errors import KeyNotFound

    try:
        balance = _store(config).top_up(key, amount)
    except KeyNotFound as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(str(balance))


@app.command()
def webhook_secret(
    key: KeyId,
    replace: Annotated[
        bool, typer.Option("--replace", help="Make a new one, which signs from now on.")
    ] = False,
    config: Config = None,
) -> None:
    """Print what signs the webhooks of a key's tasks, for whoever receives them to verify."""
    from prosopon.deployments.state.database import Records
    from prosopon.deployments.state.errors import KeyNotFound
    from prosopon.deployments.state.jobs.deliveries import DeliveryStore
    from prosopon.deployments.web.webhooks import shown
    from prosopon.pipelines.commands.support.configuration import read_settings

    settings = read_settings(config)
    deliveries = DeliveryStore(Records(settings.state.database), settings.webhooks)
    try:
        typer.echo(shown(deliveries.replace_secret(key) if replace else deliveries.secret(key)))
    except KeyNotFound as error:
        raise typer.BadParameter(str(error)) from None


def _store(config: Path | None) -> "KeyStore":
    from prosopon.deployments.state.database import Records
    from prosopon.deployments.state.keys import KeyStore
    from prosopon.pipelines.commands.support.configuration import read_settings

    return KeyStore(Records(read_settings(config).state.database))
