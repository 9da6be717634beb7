"""Web pages: rendered here, read-only, and quick to load.

Everything that users wrote is escaped by the templates; behind that stands a policy under which
a browser runs only the scripts of static/. Without scripts the pages say the same.
"""

from fastapi import APIRouter

from api.pages import booking, bookings, flow, health, live, static_files
from api.pages.rendering import login_page, problem_page

__all__ = ["login_page", "problem_page", "router"]

router = APIRouter(include_in_schema=False)
for module in (static_files, bookings, booking, live, flow, health):
    router.include_router(module.router)
