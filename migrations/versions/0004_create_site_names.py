"""Create site_names: the names that a site's administrators have put."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "site_names",
        sa.Column("zoo", sa.String(64), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("details", sa.LargeBinary, nullable=False),
        sa.Column("put_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint("length(sha256) = 64", name="site_names_sha256_is_whole"),
    )


def downgrade() -> None:
    op.drop_table("site_names")
