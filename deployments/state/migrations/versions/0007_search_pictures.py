"""A picture's weight in a probe is computed with the probe."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.drop_column("search_pictures", "quality")


def downgrade() -> None:
    op.add_column("search_pictures", sa.Column("quality", sa.Float, nullable=False, server_default="1"))
