"""notices of warnings: troubles, their reports, and the sink's settings"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Go to this version."""
    op.create_table(
        "troubles",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("mesh", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("node", sa.String(length=80), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("absent", sa.BigInteger(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_troubles")),
        sa.UniqueConstraint("mesh", "code", "node", "subject", name=op.f("uq_troubles_mesh_code_node_subject")),
    )
    op.create_table(
        "reports",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("mesh", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=300), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reports")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("reports", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reports_mesh_created"), ["mesh", "created"], unique=False)
    op.create_table(
        "settings",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_settings")),
    )
    # Plain ALTER TABLE: copying the tables, as batch mode does, would lose SQLite's AUTOINCREMENT.
    op.add_column("notices", sa.Column("report", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("buildings", sa.Column("every", sa.Integer(), nullable=False, server_default="900"))


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_column("buildings", "every")
    op.execute("DELETE FROM notices WHERE report != 0")
    op.drop_column("notices", "report")
    op.drop_table("settings")
    with op.batch_alter_table("reports", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_reports_mesh_created"))
    op.drop_table("reports")
    op.drop_table("troubles")
