"""Which pictures the bulk ingestion has been through."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "sources",
        sa.Column(
            "id",
            sa.Uuid,
            nullable=False,
            comment="of where the picture is and what results show as its place",
        ),
        sa.Column("gallery_id", _id, nullable=False),
        sa.Column(
            "stamp", sa.String(64), nullable=False, comment="of what is known without reading the picture"
        ),
        sa.Column(
            "version",
            sa.String(64),
            nullable=False,
            comment="of the picture's bytes and of what was said of it",
        ),
        sa.Column("faces", sa.Integer, nullable=False),
        sa.Column("reason", sa.String(32), comment="why it has no faces; null if it has"),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sources"),
        sa.ForeignKeyConstraint(["gallery_id"], ["galleries.id"], name="fk_sources_gallery_id"),
    )
    op.create_index("ix_sources_gallery_id", "sources", ["gallery_id"])


def downgrade() -> None:
    op.drop_table("sources")
