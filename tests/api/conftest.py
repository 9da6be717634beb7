"""The service over real HTTP, for all tests of the doors."""

from service_fixtures import browser, projecting, service, stranger, unprojected

__all__ = ["browser", "projecting", "service", "stranger", "unprojected"]
