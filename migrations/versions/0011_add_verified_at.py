"""Add verified_at: when each blob was last read from its disk and hashed; none if it never was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("blobs", sa.Column("verified_at", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("blobs", "verified_at")
