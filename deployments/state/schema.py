"""The records' tables. `migrations/` builds the same tables step by step; a test holds the two together.

Ids are never used twice (SQLite's AUTOINCREMENT, PostgreSQL's sequences): a face's id is its key in the
vector index, and the index is repaired by comparing ids alone.
"""

from datetime import UTC, datetime

import sqlalchemy as sa

MAX_SUBJECT_LENGTH = 512
"""Characters in a subject's name. In UTF-8 at most 2048 bytes: a PostgreSQL B-tree entry holds up to 2704."""

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""SQLite makes a 64-bit rowid of an INTEGER primary key only."""


class Time(sa.TypeDecorator[datetime]):
    """A moment in UTC. SQLite forgets the zone, so it is put back."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("created", Time(), nullable=False),
    sqlite_autoincrement=True,
)

galleries = sa.Table(
    "galleries",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("tenant_id", Id, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("fingerprint", sa.String(255), comment="of the embedder; null until the first face"),
    sa.Column("created", Time(), nullable=False),
    sa.UniqueConstraint("tenant_id", "kind", "name"),
    sqlite_autoincrement=True,
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("tenant_id", Id, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("gallery_id", Id, sa.ForeignKey("galleries.id"), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column(
        "prefix", sa.String(16), nullable=False, comment="the key's first characters, to tell keys apart"
    ),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("credits", sa.BigInteger, comment="null is without limit"),
    sa.Column("created", Time(), nullable=False),
    sa.Column("revoked", Time()),
    sa.CheckConstraint("credits >= 0", name="ck_keys_credits"),
    sqlite_autoincrement=True,
)

subjects = sa.Table(
    "subjects",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("gallery_id", Id, sa.ForeignKey("galleries.id"), nullable=False),
    sa.Column("name", sa.String(MAX_SUBJECT_LENGTH), nullable=False),
    sa.Column("explicit", sa.Boolean, nullable=False, comment="created by itself, not with its first face"),
    sa.Column("created", Time(), nullable=False),
    sa.Column(
        "folded",
        sa.String(2 * MAX_SUBJECT_LENGTH),
        comment="the name in lower case, by which people are found; null where names are no people's",
    ),
    sa.UniqueConstraint("gallery_id", "name"),
    sa.Index(None, "gallery_id", "folded"),
    sqlite_autoincrement=True,
)

blobs = sa.Table(
    "blobs",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("media_type", sa.String(127), nullable=False),
    sa.Column("refs", sa.Integer, nullable=False),
    sa.CheckConstraint("refs >= 0", name="ck_blobs_refs"),
)
sa.Index(
    "ix_blobs_unreferenced",
    blobs.c.sha256,
    sqlite_where=blobs.c.refs == 0,
    postgresql_where=blobs.c.refs == 0,
)

faces = sa.Table(
    "faces",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("image_id", sa.Uuid, nullable=False, unique=True),
    sa.Column("gallery_id", Id, sa.ForeignKey("galleries.id"), nullable=False),
    sa.Column("subject_id", Id, sa.ForeignKey("subjects.id"), nullable=False),
    sa.Column("embedding", sa.LargeBinary, nullable=False, comment="unit norm, float32, little endian"),
    sa.Column("fingerprint", sa.String(255), nullable=False),
    sa.Column("blob", sa.String(64), sa.ForeignKey("blobs.sha256")),
    sa.Column("extra", sa.JSON(none_as_null=True), comment="what one API alone knows: url, group, thumbnail"),
    sa.Column("created", Time(), nullable=False),
    sa.Index(None, "gallery_id", "id"),
    sa.Index(None, "subject_id", "id"),
    sa.Index(None, "blob"),
    sqlite_autoincrement=True,
)

enrollments = sa.Table(
    "enrollments",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, comment="also the name of the subject that has its faces"),
    sa.Column("gallery_id", Id, sa.ForeignKey("galleries.id"), nullable=False),
    sa.Column("name", sa.String(MAX_SUBJECT_LENGTH)),
    sa.Column("created", Time(), nullable=False),
    sa.Index(None, "gallery_id"),
)

collections = sa.Table(
    "collections",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("gallery_id", Id, sa.ForeignKey("galleries.id"), nullable=False),
    sa.Column("name", sa.String(MAX_SUBJECT_LENGTH), nullable=False),
    sa.Column("unknowns", sa.Boolean, nullable=False, comment="the classifier learns a class of strangers"),
    sa.Column("created", Time(), nullable=False),
    sa.Column("updated", Time(), nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False, comment="counts changes of what is learnt"),
    sa.Column("trained_revision", sa.BigInteger, comment="of the classifier; null before there is one"),
    sa.Column("classifier", sa.String(64), sa.ForeignKey("blobs.sha256")),
    sa.Column("fingerprint", sa.String(255), comment="of the embedder that the classifier is for"),
    sa.Column("cohort", sa.String(255), comment="of the strangers it knows; null if it knows none"),
    sa.Column("claimed", Time(), comment="until when a trainer is at work"),
    sa.Column("claimant", sa.Uuid),
    sa.Index(None, "gallery_id", "created"),
    sa.Index(None, "classifier"),
)

collection_members = sa.Table(
    "collection_members",
    metadata,
    sa.Column("collection_id", sa.Uuid, sa.ForeignKey("collections.id"), primary_key=True),
    sa.Column("enrollment_id", sa.Uuid, sa.ForeignKey("enrollments.id"), primary_key=True),
    sa.Column("added", Time(), nullable=False),
    sa.Index(None, "enrollment_id"),
)

spoof_checks = sa.Table(
    "spoof_checks",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("tenant_id", Id, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("live", sa.Float, nullable=False, comment="probability that the face is live, 0 to 1"),
    sa.Column("fingerprint", sa.String(255), nullable=False, comment="of the model that judged"),
    sa.Column("created", Time(), nullable=False),
    sa.Index(None, "tenant_id", "created"),
)

latents = sa.Table(
    "latents",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("layers", sa.Integer, nullable=False, comment="0 is a latent in z, otherwise of w+"),
    sa.Column("numbers", sa.LargeBinary, nullable=False, comment="float64, little endian"),
    sa.Column("kind", sa.String(255), comment="what the client calls it"),
    sa.Column("fingerprint", sa.String(255), comment="of the generator that a latent of w+ is for"),
    sa.Column("created", Time(), nullable=False),
)

sources = sa.Table(
    "sources",
    metadata,
    sa.Column(
        "id", sa.Uuid, primary_key=True, comment="of where the picture is and what results show as its place"
    ),
    sa.Column("gallery_id", Id, sa.ForeignKey("galleries.id"), nullable=False),
    sa.Column("stamp", sa.String(64), nullable=False, comment="of what is known without reading the picture"),
    sa.Column(
        "version", sa.String(64), nullable=False, comment="of the picture's bytes and of what was said of it"
    ),
    sa.Column("faces", sa.Integer, nullable=False),
    sa.Column("reason", sa.String(32), comment="why it has no faces; null if it has"),
    sa.Column("updated", Time(), nullable=False),
    sa.Index(None, "gallery_id"),
)

results = sa.Table(
    "results",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True, comment="SHA-256 of everything that decides it"),
    sa.Column("blob", sa.String(64), sa.ForeignKey("blobs.sha256"), comment="null until it is there"),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("used", Time(), nullable=False),
    sa.Column("claimed", Time(), comment="until when somebody computes it"),
    sa.Column("claimant", sa.Uuid),
    sa.Column(
        "progress", sa.Integer, comment="pictures of a film that are made; null of what is told nothing of"
    ),
    sa.Index(None, "used"),
    sa.Index(None, "blob"),
)

searches = sa.Table(
    "searches",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("tenant_id", Id, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, comment="open, running, done or failed"),
    sa.Column("demo", sa.Boolean, nullable=False, comment="of the first faces only"),
    sa.Column("key_id", Id, sa.ForeignKey("keys.id"), comment="who pays"),
    sa.Column("charged", sa.BigInteger, nullable=False, comment="credits taken for the run"),
    sa.Column("attempts", sa.Integer, nullable=False, comment="how often the run was taken up"),
    sa.Column("progress", sa.Integer, nullable=False, comment="0 to 100"),
    sa.Column("message", sa.String(512)),
    sa.Column("code", sa.String(32), comment="why it failed"),
    sa.Column("created", Time(), nullable=False),
    sa.Column("expires", Time(), nullable=False),
    sa.Column("started", Time()),
    sa.Column("claimed", Time(), comment="until when somebody is at work"),
    sa.Column("claimant", sa.Uuid),
    sa.Column("output", sa.String(64), sa.ForeignKey("blobs.sha256")),
    sa.CheckConstraint("charged >= 0", name="ck_searches_charged"),
    sa.Index(None, "state", "claimed"),
    sa.Index(None, "expires"),
    sa.Index(None, "output"),
)

search_pictures = sa.Table(
    "search_pictures",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("search_id", sa.Uuid, sa.ForeignKey("searches.id"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False, comment="in the order of uploading"),
    sa.Column("embedding", sa.LargeBinary, nullable=False, comment="unit norm, float32, little endian"),
    sa.Column("fingerprint", sa.String(255), nullable=False),
    sa.Column("preview", sa.LargeBinary, nullable=False, comment="the face, webp"),
    sa.Column("blob", sa.String(64), sa.ForeignKey("blobs.sha256"), nullable=False),
    sa.UniqueConstraint("search_id", "position"),
    sa.Index(None, "blob"),
)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("tenant_id", Id, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("key_id", Id, sa.ForeignKey("keys.id"), nullable=False, comment="who pays"),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("points", sa.Integer, nullable=False),
    sa.Column("webhook", sa.Text),
    sa.Column("results_url", sa.Text, nullable=False, comment="under which the result's name will be found"),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due", Time(), comment="from when a worker may claim it; null once it has ended"),
    sa.Column("claimant", sa.Uuid),
    sa.Column("message", sa.Text),
    sa.Column("result", sa.String(64), sa.ForeignKey("blobs.sha256")),
    sa.Column("result_name", sa.String(64), unique=True, comment="unguessable"),
    sa.Column(
        "similarity", sa.Float, comment="of the result's faces to those put in; null where nobody measured"
    ),
    sa.Column("method", sa.String(32), comment="how the result was made; null where nobody said"),
    sa.Column("progress", sa.Float, comment="0 to 1, of a film; null of a picture"),
    sa.Column("expires", Time(), comment="when its pictures are deleted; null once they are"),
    sa.Column("created", Time(), nullable=False),
    sa.Column("finished", Time()),
    sa.Index(None, "result"),
    sa.Index(None, "created"),
    sa.Index(None, "expires"),
)
for _columns in (("due",), ("tenant_id", "due")):
    sa.Index(
        f"ix_tasks_open_{'_'.join(_columns)}",
        *(tasks.c[name] for name in _columns),
        sqlite_where=tasks.c.due.is_not(None),
        postgresql_where=tasks.c.due.is_not(None),
    )

task_inputs = sa.Table(
    "task_inputs",
    metadata,
    sa.Column("task_id", sa.Uuid, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("blob", sa.String(64), sa.ForeignKey("blobs.sha256")),
    sa.Column("url", sa.Text),
    sa.Index(None, "blob"),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("task_id", sa.Uuid, sa.ForeignKey("tasks.id"), nullable=False),
    sa.Column("key_id", Id, sa.ForeignKey("keys.id"), nullable=False, comment="whose secret signs"),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False, comment="the same bytes in every attempt"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due", Time(), comment="when to attempt next; null once it is delivered or given up"),
    sa.Column("claimant", sa.Uuid),
    sa.Column("status", sa.Integer, comment="of the last answer"),
    sa.Column("error", sa.Text, comment="of the last attempt"),
    sa.Column("created", Time(), nullable=False),
    sa.Column("delivered", Time()),
    sa.Index(None, "task_id"),
)
sa.Index(
    "ix_deliveries_open_due",
    deliveries.c.due,
    sqlite_where=deliveries.c.due.is_not(None),
    postgresql_where=deliveries.c.due.is_not(None),
)

webhook_secrets = sa.Table(
    "webhook_secrets",
    metadata,
    sa.Column("key_id", Id, sa.ForeignKey("keys.id"), primary_key=True, autoincrement=False),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("created", Time(), nullable=False),
)

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("day", sa.Date, primary_key=True, comment="in UTC"),
    sa.Column("key_id", Id, sa.ForeignKey("keys.id"), primary_key=True, autoincrement=False),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("pictures", sa.BigInteger, nullable=False),
    sa.Column("points", sa.BigInteger, nullable=False, comment="charged less given back"),
)
