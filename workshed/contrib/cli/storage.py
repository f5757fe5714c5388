"""`workshed storage`: the contents that are kept in WORKSHED_STORAGE_URL."""

from workshed.console.cli.terminal.audit import record_action
from workshed.console.cli.terminal.confirm import require_confirmation
from workshed.console.cli.terminal.options import DryRun, Json, Yes
from workshed.console.cli.terminal.output import print_json
from workshed.console.operations.environment import open_database
from workshed.contrib.storage import blobs
from workshed.contrib.storage import storage as place
from workshed.contrib.storage.tables import STREAM
from workshed.extras import require_extra

with require_extra("server"):
    import typer

storage = typer.Typer(add_completion=False, help="The contents in WORKSHED_STORAGE_URL.")


@storage.callback()
def group() -> None:
    """The contents in WORKSHED_STORAGE_URL."""  # noqa: D401 -- a title


@storage.command("import-existing")
def import_existing(*, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Let the next sweep delete contents that this database does not know.

    Such contents are left when PostgreSQL is restored from an older backup. They are deleted by
    age, unless they are stored again. If another database keeps its contents in the same place,
    they may belong to it: run with --dry-run first.
    """
    with open_database(STREAM):
        count = blobs.import_existing(only_count=True)
    if count and not dry_run:
        require_confirmation(f"Let {count} contents of {place()} be deleted", yes=yes)
        count = import_and_record()
    if as_json:
        print_json({"storage": str(place()), "contents": count, "imported": not dry_run})
        return
    print(f"{count} contents without a row in {place()}{'' if dry_run else ', imported'}")


def import_and_record() -> int:
    """Import them, and record how many, also if the storage fails partway through."""
    counts: list[int] = []
    with open_database(STREAM) as conn:
        try:
            return blobs.import_existing(step=counts.append)
        finally:
            count = sum(counts)
            said = f"{count} contents are deleted after their grace, unless they are stored again."
            record_action(
                conn, "storage.import-existing", {"storage": str(place())}, count=count, said=said
            )
