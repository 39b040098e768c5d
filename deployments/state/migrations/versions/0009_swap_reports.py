"""How a swap was made, and how like the faces of its result are."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    similarity = "of the result's faces to those put in; null where nobody measured"
    op.add_column("tasks", sa.Column("similarity", sa.Float, comment=similarity))
    op.add_column(
        "tasks", sa.Column("method", sa.String(32), comment="how the result was made; null where nobody said")
    )


def downgrade() -> None:
    op.drop_column("tasks", "method")
    op.drop_column("tasks", "similarity")
