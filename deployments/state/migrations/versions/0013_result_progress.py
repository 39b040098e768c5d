"""How much of a film that is being made is done."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    progress = "pictures of a film that are made; null of what is told nothing of"
    op.add_column("results", sa.Column("progress", sa.Integer, comment=progress))


def downgrade() -> None:
    op.drop_column("results", "progress")
