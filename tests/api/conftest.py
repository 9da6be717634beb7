"""The service over real HTTP, for all tests of the doors."""

from service_fixtures import browser, figures_never_dear, projecting, service, stranger, unprojected

__all__ = ["browser", "figures_never_dear", "projecting", "service", "stranger", "unprojected"]
