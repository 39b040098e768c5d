"""`prosopon settings`: what can be configured."""

import typer


def settings() -> None:
    """Print every setting with its meaning and its default, in Markdown."""
    from prosopon.configs.tables import markdown
    from prosopon.models.faces.attributes.table import ATTRIBUTES

    typer.echo(markdown(ATTRIBUTES.resources), nl=False)
