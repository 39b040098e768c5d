"""What each key has used, by day."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "usage",
        sa.Column("day", sa.Date, primary_key=True, comment="in UTC"),
        sa.Column("key_id", _id, sa.ForeignKey("keys.id"), primary_key=True, autoincrement=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("pictures", sa.BigInteger, nullable=False),
        sa.Column("points", sa.BigInteger, nullable=False, comment="charged less given back"),
    )


def downgrade() -> None:
    op.drop_table("usage")
