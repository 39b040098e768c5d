"""People are found without regard to case: a subject's name in lower case stands beside it.

It is not unique, since galleries may hold names that differ in case alone: each of these is still found by its own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_AT_ONCE = 10_000


def upgrade() -> None:
    op.add_column(
        "subjects",
        sa.Column(
            "folded",
            sa.String(1024),
            comment="the name in lower case, by which people are found; null where names are no people's",
        ),
    )
    op.create_index(None, "subjects", ["gallery_id", "folded"])
    subjects = sa.table(
        "subjects", sa.column("id"), sa.column("gallery_id"), sa.column("name"), sa.column("folded")
    )
    galleries = sa.table("galleries", sa.column("id"), sa.column("kind"))
    people = sa.select(galleries.c.id).where(galleries.c.kind == "compreface")
    update = (
        sa.update(subjects)
        .where(subjects.c.id == sa.bindparam("subject"))
        .values(folded=sa.bindparam("lower"))
    )
    db, last = op.get_bind(), 0
    while rows := db.execute(  # SQLite lowers ASCII alone, so that is done here.
        sa.select(subjects.c.id, subjects.c.name)
        .where(subjects.c.gallery_id.in_(people), subjects.c.id > last)
        .order_by(subjects.c.id)
        .limit(_AT_ONCE)
    ).all():
        db.execute(update, [{"subject": row.id, "lower": row.name.lower()} for row in rows])
        last = rows[-1].id


def downgrade() -> None:
    op.drop_index("ix_subjects_gallery_id_folded", "subjects")
    op.drop_column("subjects", "folded")
