"""Tasks, what they are made from, their webhooks and the secrets that sign these."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_time = sa.DateTime(timezone=True)
_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("tenant_id", _id, nullable=False),
        sa.Column("key_id", _id, nullable=False, comment="who pays"),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("points", sa.Integer, nullable=False),
        sa.Column("webhook", sa.Text),
        sa.Column(
            "results_url", sa.Text, nullable=False, comment="under which the result's name will be found"
        ),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due", _time, comment="from when a worker may claim it; null once it has ended"),
        sa.Column("claimant", sa.Uuid),
        sa.Column("message", sa.Text),
        sa.Column("result", sa.String(64)),
        sa.Column("result_name", sa.String(64), comment="unguessable"),
        sa.Column("expires", _time, comment="when its pictures are deleted; null once they are"),
        sa.Column("created", _time, nullable=False),
        sa.Column("finished", _time),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_tasks_tenant_id"),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name="fk_tasks_key_id"),
        sa.ForeignKeyConstraint(["result"], ["blobs.sha256"], name="fk_tasks_result"),
        sa.UniqueConstraint("result_name", name="uq_tasks_result_name"),
    )
    for column in ("result", "created", "expires"):
        op.create_index(f"ix_tasks_{column}", "tasks", [column])
    for columns in (["due"], ["tenant_id", "due"]):
        is_open = sa.text("due IS NOT NULL")
        op.create_index(
            f"ix_tasks_open_{'_'.join(columns)}",
            "tasks",
            columns,
            sqlite_where=is_open,
            postgresql_where=is_open,
        )
    op.create_table(
        "task_inputs",
        sa.Column("task_id", sa.Uuid, nullable=False),
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("blob", sa.String(64)),
        sa.Column("url", sa.Text),
        sa.PrimaryKeyConstraint("task_id", "position", name="pk_task_inputs"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_task_inputs_task_id"),
        sa.ForeignKeyConstraint(["blob"], ["blobs.sha256"], name="fk_task_inputs_blob"),
    )
    op.create_index("ix_task_inputs_blob", "task_inputs", ["blob"])
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("task_id", sa.Uuid, nullable=False),
        sa.Column("key_id", _id, nullable=False, comment="whose secret signs"),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False, comment="the same bytes in every attempt"),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due", _time, comment="when to attempt next; null once it is delivered or given up"),
        sa.Column("claimant", sa.Uuid),
        sa.Column("status", sa.Integer, comment="of the last answer"),
        sa.Column("error", sa.Text, comment="of the last attempt"),
        sa.Column("created", _time, nullable=False),
        sa.Column("delivered", _time),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_deliveries_task_id"),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name="fk_deliveries_key_id"),
    )
    op.create_index("ix_deliveries_task_id", "deliveries", ["task_id"])
    is_open = sa.text("due IS NOT NULL")
    op.create_index(
        "ix_deliveries_open_due", "deliveries", ["due"], sqlite_where=is_open, postgresql_where=is_open
    )
    op.create_table(
        "webhook_secrets",
        sa.Column("key_id", _id, nullable=False, autoincrement=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("created", _time, nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_webhook_secrets"),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name="fk_webhook_secrets_key_id"),
    )


def downgrade() -> None:
    for table in ("webhook_secrets", "deliveries", "task_inputs", "tasks"):
        op.drop_table(table)
