"""Create uses: when and how often each blob was used; blobs that are held already leave in the order they came."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "uses",
        sa.Column("sha256", sa.String(64), sa.ForeignKey("blobs.sha256"), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("last_at", sa.BigInteger),
        sa.Column("priority", sa.Float, nullable=False),
    )
    op.create_index("ix_uses_priority", "uses", ["priority"])
    op.execute(
        "INSERT INTO uses (sha256, count, priority)"
        " SELECT sha256, 0, row_number() OVER (ORDER BY created_at, sha256) FROM blobs"
    )


def downgrade() -> None:
    op.drop_index("ix_uses_priority", "uses")
    op.drop_table("uses")
