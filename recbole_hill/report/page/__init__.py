"""A study as one HTML page that needs nothing beside itself."""

from recbole_hill.report.page.page import html_page, page

__all__ = ["html_page", "page"]
