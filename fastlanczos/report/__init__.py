"""What a tracked run or a study has found, as a page for a browser and as pictures."""

from fastlanczos.report.figures import write_figures
from fastlanczos.report.page import write_page

__all__ = ["write_figures", "write_page"]
