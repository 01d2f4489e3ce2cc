"""Create fills: who fetches what at the moment, and how far it came."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "fills",
        sa.Column("url", sa.Text, primary_key=True),
        sa.Column("owner", sa.String(32)),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("partial", sa.String(32)),
        sa.Column("candidate", sa.Text),
        sa.Column("length", sa.BigInteger),
        sa.Column("etag", sa.Text),
        sa.Column("modified", sa.Text),
        sa.Column("resumable", sa.Boolean, nullable=False),
        sa.Column("durable", sa.BigInteger, nullable=False),
        sa.Column("boot", sa.String(36), nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("cancelled", sa.Boolean, nullable=False),
        sa.Column("touched_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("fills")
