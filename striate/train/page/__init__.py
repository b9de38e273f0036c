"""``report.html``: everything about a run on one page that needs nothing but itself."""

from striate.train.page.writing import REPORT, report_run, write_report

__all__ = ["REPORT", "report_run", "write_report"]
