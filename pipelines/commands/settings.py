"""`prosopon settings`: what can be configured."""

import typer


def settings() -> None:
    """Print every setting with its meaning and its default, in Markdown."""
    from prosopon.configs.tables import markdown

    typer.echo(markdown(), nl=False)
