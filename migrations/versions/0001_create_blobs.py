"""Create blobs: what is held, by content."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint("length(sha256) = 64", name="blobs_sha256_is_whole"),
        sa.CheckConstraint("size >= 0", name="blobs_size_is_not_negative"),
    )


def downgrade() -> None:
    op.drop_table("blobs")
