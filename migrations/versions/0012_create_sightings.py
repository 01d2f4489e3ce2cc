"""Create sightings: what each source's upstream said of it when it was last asked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sightings",
        sa.Column("url", sa.Text, primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("checked_at", sa.BigInteger, nullable=False),
        sa.Column("candidate", sa.Text),
        sa.Column("length", sa.BigInteger),
        sa.Column("etag", sa.Text),
        sa.Column("modified", sa.Text),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("candidates", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("sightings")
