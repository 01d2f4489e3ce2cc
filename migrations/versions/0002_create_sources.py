"""Create sources: which blob each URL was filled with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sources",
        sa.Column("url", sa.Text, primary_key=True),
        sa.Column("sha256", sa.String(64), sa.ForeignKey("blobs.sha256"), nullable=False),
        sa.Column("filled_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_sources_sha256", "sources", ["sha256"])


def downgrade() -> None:
    op.drop_table("sources")
