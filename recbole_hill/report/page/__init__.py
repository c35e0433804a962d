"""A study as one HTML page that needs nothing beside itself."""

from recbole_hill.report.page.page import page

__all__ = ["page"]
