"""How a swap was made, and how like the faces of its result are."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("similarity", sa.Float))
    op.add_column("tasks", sa.Column("method", sa.String(32)))


def downgrade() -> None:
    op.drop_column("tasks", "method")
    op.drop_column("tasks", "similarity")
