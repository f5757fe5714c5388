"""What the admin's pages of jobs have in common: they only read, and never read a whole table."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.db import connections
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html

from workshed.contrib.django import configuration, job_calls

MOST_ROWS = 10_000
"""A list shows the rows that come first by time, and counts no others."""
FILTERED = frozenset({"actor", "died_at", "outcome", "queue", "recorded_at"})
"""Fields that have a filter in a list."""
Page = Callable[..., HttpResponse]


class NameFilter(admin.SimpleListFilter):
    """Filters by a name that workers have declared, because reading all rows would take long."""

    table: ClassVar[str]

    def lookups(self, _request: HttpRequest, _admin: Any) -> list[tuple[str, str]]:
        """Return the known names."""
        with connections[configuration.database_alias()].cursor() as cursor:
            cursor.execute(f"SELECT name FROM workshed.{self.table} ORDER BY 1")  # noqa: S608 -- one of ours
            return [(name, name) for (name,) in cursor.fetchall()]

    def queryset(self, _request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Apply the filter."""
        return rows if self.value() is None else rows.filter(**{self.parameter_name: self.value()})


class QueueFilter(NameFilter):
    """Filters by queue."""

    title = parameter_name = "queue"
    table = "queues"


class ActorFilter(NameFilter):
    """Filters by actor."""

    title = parameter_name = "actor"
    table = "actors"


class JobChangeList(ChangeList):
    """A list of jobs, each with its call."""

    def get_results(self, request: HttpRequest) -> None:
        """Read a page, and what its jobs are called with."""
        super().get_results(request)
        self.result_list: list[Any] = list(self.result_list)
        self.model_admin.describe(self.result_list)

    def url_for_result(self, result: Any) -> str:
        """Return the address of one row."""
        return f"{self.model_admin.object_id(result)}/change/"


class JobAdmin(admin.ModelAdmin):
    """Shows jobs; changes nothing."""

    actions = None
    list_per_page = 50
    list_filter: Sequence[Any] = (QueueFilter, ActorFilter)
    search_fields = ("message_id",)
    search_names: tuple[str, ...] = ("actor",)
    """Fields that a search compares, if no job has this ID."""
    search_help_text = "the ID of a job, or an actor"
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    """The counts of the filters would compare each row with each other one."""
    sortable_by = ()

    def has_add_permission(self, *_: Any) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, *_: Any) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, *_: Any) -> bool:
        """Refuse."""
        return False

    def get_queryset(self, _request: HttpRequest) -> QuerySet[Any]:
        """Read Workshed's database, whatever the routers of the project say."""
        rows = QuerySet(self.model, using=configuration.database_alias())
        return rows.order_by(*self.ordering)

    def lookup_allowed(self, lookup: str, *_: Any) -> bool:
        """Let an address filter only as the list does; by `body`, it could guess a secret."""
        return lookup.split("__", maxsplit=1)[0] in FILTERED

    def get_changelist(self, *_: Any, **__: Any) -> type[ChangeList]:
        """Return the class of the list."""
        return JobChangeList

    def get_list_display(self, _request: HttpRequest) -> Sequence[str]:
        """Add the link to the console, if it has an address."""
        return (*self.list_display, *self._link_columns())

    def get_fields(self, *_: Any) -> Sequence[str]:
        """Likewise."""
        return (*self.fields, *self._link_columns())

    def get_readonly_fields(self, request: HttpRequest, _row: Any = None) -> Sequence[str]:
        """Return all fields."""
        return self.get_fields(request)

    def get_search_results(
        self, request: HttpRequest, rows: QuerySet[Any], term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find a job by its ID, or the latest by other names; reads at most `MOST_ROWS`."""
        condition = self._search_condition(request, term.strip())
        if actor := request.GET.get("actor"):  # whose latest runs may be older than those of others
            condition &= Q(actor=actor)
        order = self.ordering[0]
        name = order.removeprefix("-")
        times = self.get_queryset(request).filter(condition).order_by(order).values_list(name)
        last = list(times[MOST_ROWS - 1 : MOST_ROWS])
        if last:
            side = "gte" if order.startswith("-") else "lte"
            condition &= Q(**{f"{name}__{side}": last[0][0]})
        return rows.filter(condition), False

    def _search_condition(self, request: HttpRequest, term: str) -> Q:
        if not term or "\0" in term:
            return Q()
        by_id = Q(message_id=term)
        if self.get_queryset(request).filter(by_id).exists():
            return by_id
        names = Q()
        for name in self.search_names:
            names |= Q(**{name: term})
        return names

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any | None:
        """Return one row with its call."""
        row = None if from_field else self.find(self.get_queryset(request), object_id)
        if row is not None:
            self.describe([row])
        return row

    def find(self, rows: QuerySet[Any], object_id: str) -> Any | None:
        """Return the row of an address."""
        return rows.filter(message_id=object_id).first()

    def object_id(self, row: Any) -> str:
        """Return what names a row in an address."""
        return str(quote(row.message_id))

    def describe(self, rows: Sequence[Any]) -> None:
        """Give each row the text of its `call`."""
        alias = configuration.database_alias()
        for row, call in zip(rows, job_calls.describe_calls(alias, rows), strict=True):
            row.call = call

    def call(self, row: Any) -> str:
        """Return the job as a call."""
        return str(row.call)

    def console(self, row: Any) -> str:
        """Return a link to the job's page in the console."""
        address = f"{configuration.console_url()}/job?{urlencode({'id': row.message_id})}"
        return format_html('<a href="{}">{}</a>', address, "open")  # type: ignore[no-any-return]

    def changelist_view(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        """Show the list, or why there is none."""
        return self._show(super().changelist_view, request, *args, **options)

    def changeform_view(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        """Show one row, or why there is none."""
        return self._show(super().changeform_view, request, *args, **options)

    def _show(self, page: Page, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        problem = find_problem()
        if problem is None or not self.has_view_permission(request):
            return page(request, *args, **options)
        context = {
            **self.admin_site.each_context(request),
            "title": self.model._meta.verbose_name_plural.capitalize(),  # noqa: SLF001
            "opts": self.model._meta,  # noqa: SLF001
            "problem": problem,
        }
        return TemplateResponse(request, "admin/workshed/unavailable.html", context)

    def _link_columns(self) -> tuple[str, ...]:
        return ("console",) if configuration.console_url() else ()


def find_problem() -> str | None:
    """Say why the tables cannot be read, or return `None`."""
    alias = configuration.database_alias()
    if alias is None:
        return (
            f"{configuration.NAME}[{configuration.DATABASE!r}] is None, so no database of Django "
            "has Workshed's tables. Use the console instead: workshed web"
        )
    if problem := configuration.find_problem():
        return problem
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT to_regclass('workshed.runs') IS NOT NULL")
        if cursor.fetchone() == (True,):
            return None
    return f"The database {alias!r} has no tables of Workshed: run `manage.py migrate`"
