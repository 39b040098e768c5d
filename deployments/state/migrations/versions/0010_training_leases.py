"""Trainings are leased as other work is: a collection is free from a moment on, and somebody has it."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("collections", sa.Column("claimant", sa.Uuid))
    op.execute("UPDATE collections SET claimed = updated WHERE claimed IS NULL")


def downgrade() -> None:
    op.drop_column("collections", "claimant")
