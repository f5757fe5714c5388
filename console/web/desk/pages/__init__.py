"""Each page of the console with what can be done on it."""

from console.web.desk.page import Action, Download, Page
from console.web.desk.pages import (
    audit,
    batches,
    campaigns,
    dead,
    imports,
    job,
    jobs,
    limits,
    mail,
    overview,
    queues,
    recurring,
    reports,
    scheduled,
    unique,
    workers,
)

MODULES = (
    overview, queues, jobs, job, dead, scheduled, recurring,
    batches, unique, limits, workers,
    imports, campaigns, reports, mail,
    audit,
)  # fmt: skip
PAGES: tuple[Page, ...] = tuple(page for module in MODULES for page in module.PAGES)
ACTIONS: tuple[Action, ...] = tuple(action for module in MODULES for action in module.ACTIONS)
DOWNLOADS: tuple[Download, ...] = tuple(
    download for module in MODULES for download in getattr(module, "DOWNLOADS", ())
)
