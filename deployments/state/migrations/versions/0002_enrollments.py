"""Enrollments, their collections with classifiers, and spoof checks."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "enrollments",
        sa.Column("id", sa.Uuid, nullable=False, comment="also the name of the subject that has its faces"),
        sa.Column("gallery_id", _id, nullable=False),
        sa.Column("name", sa.String(512)),
        sa.Column("created", _time, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_enrollments"),
        sa.ForeignKeyConstraint(["gallery_id"], ["galleries.id"], name="fk_enrollments_gallery_id"),
    )
    op.create_index("ix_enrollments_gallery_id", "enrollments", ["gallery_id"])
    op.create_table(
        "collections",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("gallery_id", _id, nullable=False),
        sa.Column("name", sa.String(512), nullable=False),
        sa.Column(
            "unknowns", sa.Boolean, nullable=False, comment="the classifier learns a class of strangers"
        ),
        sa.Column("created", _time, nullable=False),
        sa.Column("updated", _time, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, comment="counts changes of what is learnt"),
        sa.Column("trained_revision", sa.BigInteger, comment="of the classifier; null before there is one"),
        sa.Column("classifier", sa.String(64)),
        sa.Column("fingerprint", sa.String(255), comment="of the embedder that the classifier is for"),
        sa.Column("cohort", sa.String(255), comment="of the strangers it knows; null if it knows none"),
        sa.Column("claimed", _time, comment="until when a trainer is at work"),
        sa.PrimaryKeyConstraint("id", name="pk_collections"),
        sa.ForeignKeyConstraint(["gallery_id"], ["galleries.id"], name="fk_collections_gallery_id"),
        sa.ForeignKeyConstraint(["classifier"], ["blobs.sha256"], name="fk_collections_classifier"),
    )
    op.create_index("ix_collections_gallery_id_created", "collections", ["gallery_id", "created"])
    op.create_index("ix_collections_classifier", "collections", ["classifier"])
    op.create_table(
        "collection_members",
        sa.Column("collection_id", sa.Uuid, nullable=False),
        sa.Column("enrollment_id", sa.Uuid, nullable=False),
        sa.Column("added", _time, nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "enrollment_id", name="pk_collection_members"),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collections.id"], name="fk_collection_members_collection_id"
        ),
        sa.ForeignKeyConstraint(
            ["enrollment_id"], ["enrollments.id"], name="fk_collection_members_enrollment_id"
        ),
    )
    op.create_index("ix_collection_members_enrollment_id", "collection_members", ["enrollment_id"])
    op.create_table(
        "spoof_checks",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("tenant_id", _id, nullable=False),
        sa.Column("live", sa.Float, nullable=False, comment="probability that the face is live, 0 to 1"),
        sa.Column("fingerprint", sa.String(255), nullable=False, comment="of the model that judged"),
        sa.Column("created", _time, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_spoof_checks"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_spoof_checks_tenant_id"),
    )
    op.create_index("ix_spoof_checks_tenant_id_created", "spoof_checks", ["tenant_id", "created"])


def downgrade() -> None:
    for table in ("spoof_checks", "collection_members", "collections", "enrollments"):
        op.drop_table(table)
