"""Create trust: the digest that each source was first seen with, or that an operator accepted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trust",
        sa.Column("url", sa.Text, primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("accepted_at", sa.BigInteger),
        sa.Column("refused_sha256", sa.String(64)),
        sa.Column("refused_at", sa.BigInteger),
        sa.CheckConstraint("length(sha256) = 64", name="trust_sha256_is_whole"),
    )


def downgrade() -> None:
    op.drop_table("trust")
