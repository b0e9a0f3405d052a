"""Alembic's own: how one version of the trail's tables becomes the next."""
