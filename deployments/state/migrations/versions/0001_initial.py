"""Tenants, keys, galleries, subjects, faces and blobs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", _id, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False, unique=True),
        sa.Column("created", _time, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "galleries",
        sa.Column("id", _id, primary_key=True),
        sa.Column("tenant_id", _id, sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(255), comment="of the embedder; null until the first face"),
        sa.Column("created", _time, nullable=False),
        sa.UniqueConstraint("tenant_id", "kind", "name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "keys",
        sa.Column("id", _id, primary_key=True),
        sa.Column("tenant_id", _id, sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("gallery_id", _id, sa.ForeignKey("galleries.id"), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column(
            "prefix", sa.String(16), nullable=False, comment="the key's first characters, to tell keys apart"
        ),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("credits", sa.BigInteger, comment="null is without limit"),
        sa.Column("created", _time, nullable=False),
        sa.Column("revoked", _time),
        sa.CheckConstraint("credits >= 0", name="ck_keys_credits"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "subjects",
        sa.Column("id", _id, primary_key=True),
        sa.Column("gallery_id", _id, sa.ForeignKey("galleries.id"), nullable=False),
        sa.Column("name", sa.String(512), nullable=False),
        sa.Column(
            "explicit", sa.Boolean, nullable=False, comment="created by itself, not with its first face"
        ),
        sa.Column("created", _time, nullable=False),
        sa.UniqueConstraint("gallery_id", "name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "blobs",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("media_type", sa.String(127), nullable=False),
        sa.Column("refs", sa.Integer, nullable=False),
        sa.CheckConstraint("refs >= 0", name="ck_blobs_refs"),
    )
    unreferenced = sa.text("refs = 0")
    op.create_index(
        "ix_blobs_unreferenced", "blobs", ["sha256"], sqlite_where=unreferenced, postgresql_where=unreferenced
    )
    op.create_table(
        "faces",
        sa.Column("id", _id, primary_key=True),
        sa.Column("image_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("gallery_id", _id, sa.ForeignKey("galleries.id"), nullable=False),
        sa.Column("subject_id", _id, sa.ForeignKey("subjects.id"), nullable=False),
        sa.Column("embedding", sa.LargeBinary, nullable=False, comment="unit norm, float32, little endian"),
        sa.Column("fingerprint", sa.String(255), nullable=False),
        sa.Column("blob", sa.String(64), sa.ForeignKey("blobs.sha256")),
        sa.Column("extra", sa.JSON, comment="what one API alone knows: url, group, thumbnail"),
        sa.Column("created", _time, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_faces_gallery_id_id", "faces", ["gallery_id", "id"])
    op.create_index("ix_faces_subject_id_id", "faces", ["subject_id", "id"])
    op.create_index("ix_faces_blob", "faces", ["blob"])


def downgrade() -> None:
    for table in ("faces", "blobs", "subjects", "keys", "galleries", "tenants"):
        op.drop_table(table)
