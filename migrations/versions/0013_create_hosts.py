"""Create hosts: the addresses and certificates of the hosts that sources come from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hosts",
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("addresses", sa.Text, nullable=False),
        sa.Column("addresses_since", sa.BigInteger, nullable=False),
        sa.Column("certificate_ends", sa.BigInteger),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("checked_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("hosts")
