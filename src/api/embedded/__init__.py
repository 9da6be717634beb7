"""The embedded default of a service: PostgreSQL 18 from a wheel, living in a data directory."""

from api.embedded.errors import EmbeddedPostgresError
from api.embedded.lease import embedded_postgres

__all__ = ["EmbeddedPostgresError", "embedded_postgres"]
