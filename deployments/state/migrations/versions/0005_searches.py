"""Searches by face, with their pictures."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "searches",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("tenant_id", _id, nullable=False),
        sa.Column("state", sa.String(16), nullable=False, comment="open, running, done or failed"),
        sa.Column("demo", sa.Boolean, nullable=False, comment="of the first faces only"),
        sa.Column("key_id", _id, comment="who pays"),
        sa.Column("charged", sa.BigInteger, nullable=False, comment="credits taken for the run"),
        sa.Column("attempts", sa.Integer, nullable=False, comment="how often the run was taken up"),
        sa.Column("progress", sa.Integer, nullable=False, comment="0 to 100"),
        sa.Column("message", sa.String(512)),
        sa.Column("code", sa.String(32), comment="why it failed"),
        sa.Column("created", _time, nullable=False),
        sa.Column("expires", _time, nullable=False),
        sa.Column("started", _time),
        sa.Column("claimed", _time, comment="until when somebody is at work"),
        sa.Column("claimant", sa.Uuid),
        sa.Column("output", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_searches"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_searches_tenant_id"),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name="fk_searches_key_id"),
        sa.ForeignKeyConstraint(["output"], ["blobs.sha256"], name="fk_searches_output"),
        sa.CheckConstraint("charged >= 0", name="ck_searches_charged"),
    )
    op.create_index("ix_searches_state_claimed", "searches", ["state", "claimed"])
    op.create_index("ix_searches_expires", "searches", ["expires"])
    op.create_index("ix_searches_output", "searches", ["output"])
    op.create_table(
        "search_pictures",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("search_id", sa.Uuid, nullable=False),
        sa.Column("position", sa.Integer, nullable=False, comment="in the order of uploading"),
        sa.Column("embedding", sa.LargeBinary, nullable=False, comment="unit norm, float32, little endian"),
        sa.Column("fingerprint", sa.String(255), nullable=False),
        sa.Column("quality", sa.Float, nullable=False, comment="its weight in the probe"),
        sa.Column("preview", sa.LargeBinary, nullable=False, comment="the face, webp"),
        sa.Column("blob", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_search_pictures"),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name="fk_search_pictures_search_id"),
        sa.ForeignKeyConstraint(["blob"], ["blobs.sha256"], name="fk_search_pictures_blob"),
        sa.UniqueConstraint("search_id", "position", name="uq_search_pictures_search_id_position"),
    )
    op.create_index("ix_search_pictures_blob", "search_pictures", ["blob"])


def downgrade() -> None:
    for table in ("search_pictures", "searches"):
        op.drop_table(table)
