"""How much of a film's swap is done."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    progress = "0 to 1, of a film; null of a picture"
    op.add_column("tasks", sa.Column("progress", sa.Float, comment=progress))


def downgrade() -> None:
    op.drop_column("tasks", "progress")
