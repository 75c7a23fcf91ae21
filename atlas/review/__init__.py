"""A printable report for a model review: all that an atlas and what was found beside it say, on one page."""

from atlas.review.run import Review, report_html, write_report

__all__ = ["Review", "report_html", "write_report"]
