"""Registered latents, and the cache of what was generated."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "latents",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("layers", sa.Integer, nullable=False, comment="0 is a latent in z, otherwise of w+"),
        sa.Column("numbers", sa.LargeBinary, nullable=False, comment="float64, little endian"),
        sa.Column("kind", sa.String(255), comment="what the client calls it"),
        sa.Column("fingerprint", sa.String(255), comment="of the generator that a latent of w+ is for"),
        sa.Column("created", _time, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_latents"),
    )
    op.create_table(
        "results",
        sa.Column("key", sa.String(64), nullable=False, comment="SHA-256 of everything that decides it"),
        sa.Column("blob", sa.String(64), comment="null until it is there"),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("used", _time, nullable=False),
        sa.Column("claimed", _time, comment="until when somebody computes it"),
        sa.Column("claimant", sa.Uuid),
        sa.PrimaryKeyConstraint("key", name="pk_results"),
        sa.ForeignKeyConstraint(["blob"], ["blobs.sha256"], name="fk_results_blob"),
    )
    op.create_index("ix_results_used", "results", ["used"])
    op.create_index("ix_results_blob", "results", ["blob"])


def downgrade() -> None:
    for table in ("results", "latents"):
        op.drop_table(table)
