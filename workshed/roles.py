"""What each part may do in PostgreSQL, and the SQL that grants it.

Each part has one role, which cannot log in; the accounts that log in are members of it. The owner
of the schemas, which runs the migrations, needs none of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from workshed.app import get_app, load_object
from workshed.errors import SettingsError

Rights = Mapping[str, str]
"""By role: `r` is SELECT, `a` INSERT, `w` UPDATE, `d` DELETE, as in PostgreSQL's own ACLs."""

VERBS = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}
ROLES = {
    "sender": "stores jobs in its own transactions",
    "application": "also sends through RabbitMQ, makes batches, cancels, reads results",
    "worker": "runs jobs",
    "relay": "publishes jobs that are due, and prunes the tables",
    "clock": "creates the runs of periodic jobs",
    "reader": "reads everything, like a reader of the console",
    "operator": "also retries, cancels and pauses, like an operator of the console",
    "monitor": "reads counts, but no messages",
}

TABLES: dict[str, Rights] = {
    "workshed.actors": {
        "application": "r",
        "worker": "raw",
        "relay": "r",
        "clock": "raw",
        "reader": "r",
        "operator": "raw",
        "monitor": "r",
    },
    "workshed.attempts": {
        "application": "a",
        "worker": "raw",
        "relay": "rawd",
        "reader": "r",
        "operator": "raw",
    },
    "workshed.audit": {"reader": "r", "operator": "ra"},
    "workshed.batch_callbacks": {
        "application": "raw",
        "worker": "raw",
        "relay": "rawd",
        "reader": "r",
        "operator": "raw",
    },
    "workshed.batch_jobs": {
        "application": "raw",
        "worker": "raw",
        "relay": "rawd",
        "reader": "r",
        "operator": "raw",
    },
    "workshed.batches": {
        "application": "raw",
        "worker": "raw",
        "relay": "rawd",
        "reader": "r",
        "operator": "raw",
    },
    "workshed.cancel_rules": {"worker": "r", "relay": "rwd", "reader": "r", "operator": "rad"},
    "workshed.console_sessions": {"relay": "rwd", "reader": "rawd", "operator": "rawd"},
    "workshed.counters": {"application": "rawd", "worker": "rawd", "relay": "rwd", "reader": "r"},
    "workshed.dead": {"worker": "rawd", "relay": "rawd", "reader": "r", "operator": "rawd"},
    "workshed.limit_slots": {"worker": "rawd", "relay": "rwd", "reader": "r", "operator": "rd"},
    "workshed.limit_starts": {"worker": "rad", "relay": "rwd", "reader": "r", "operator": "r"},
    "workshed.limit_waiters": {"worker": "rawd", "relay": "rwd", "reader": "r", "operator": "rwd"},
    "workshed.limits": {"worker": "raw", "relay": "rwd", "reader": "r", "operator": "rw"},
    "workshed.login_failures": {"relay": "rwd", "reader": "raw", "operator": "raw"},
    "workshed.migrations": {
        "worker": "r",
        "relay": "r",
        "clock": "r",
        "reader": "r",
        "operator": "r",
        "monitor": "r",
    },
    "workshed.periodic_runs": {"worker": "rw", "relay": "rwd", "reader": "r", "operator": "r"},
    "workshed.once_keys": {"worker": "ra", "relay": "rwd", "reader": "r", "operator": "ra"},
    "workshed.pruned": {"relay": "raw", "reader": "r", "operator": "r", "monitor": "r"},
    "workshed.queues": {
        "application": "r",
        "worker": "raw",
        "relay": "raw",
        "clock": "raw",
        "reader": "r",
        "operator": "raw",
        "monitor": "r",
    },
    "workshed.periodic_jobs": {
        "worker": "raw",
        "relay": "rwd",
        "clock": "raw",
        "reader": "r",
        "operator": "rw",
        "monitor": "r",
    },
    "workshed.relays": {
        "worker": "r",
        "relay": "rawd",
        "reader": "r",
        "operator": "r",
        "monitor": "r",
    },
    "workshed.results": {
        "application": "raw",
        "worker": "raw",
        "relay": "rwd",
        "reader": "r",
        "operator": "rawd",
    },
    "workshed.run_locks": {"worker": "rawd", "relay": "rwd", "reader": "r", "operator": "rd"},
    "workshed.runs": {"worker": "ra", "reader": "r", "operator": "raw"},
    "workshed.run_counts": {"relay": "rd", "reader": "r", "operator": "r", "monitor": "r"},
    "workshed.run_minutes": {"relay": "rawd", "reader": "r", "operator": "r", "monitor": "r"},
    "workshed.run_totals": {"relay": "rawd", "reader": "r", "operator": "r", "monitor": "r"},
    "workshed.runs_dropped": {"worker": "a", "relay": "rd", "reader": "r", "operator": "ra"},
    "workshed.schedule": {
        "application": "rawd",
        "worker": "rawd",
        "relay": "rawd",
        "reader": "r",
        "operator": "rawd",
    },
    "workshed.sender_grants": {},
    "workshed.completed_generations": {
        "application": "raw",
        "worker": "raw",
        "relay": "rawd",
        "reader": "r",
        "operator": "raw",
    },
    "workshed.redelivered_starts": {
        "application": "rd",
        "worker": "rawd",
        "relay": "rwd",
        "reader": "r",
        "operator": "rd",
    },
    "workshed.steps": {"worker": "raw", "relay": "rwd", "reader": "r", "operator": "r"},
    "workshed.cancellations": {
        "application": "raw",
        "worker": "rawd",
        "relay": "rawd",
        "reader": "r",
        "operator": "rawd",
    },
    "workshed.unique_locks": {
        "application": "rawd",
        "worker": "rawd",
        "relay": "rwd",
        "reader": "r",
        "operator": "rawd",
    },
    "workshed.workers": {
        "worker": "rawd",
        "relay": "rwd",
        "reader": "r",
        "operator": "rw",
        "monitor": "r",
    },
}
"""All tables of Workshed; a test fails if one is missing."""

COLUMNS: Mapping[str, Mapping[str, Rights]] = {
    "workshed.schedule": {
        # Without the columns that mark a row as claimed or sent.
        "sender": {
            "a": "message_id, generation, queue, actor, body, reason, possible_duplicate, due_at"
        },
        # All columns except the message.
        "monitor": {
            "r": "message_id, generation, queue, actor, due_at, reason, created_at, claimed_by, "
            "claimed_at, possible_duplicate, sent_at, seen_empty_at, priority"
        },
    },
    "workshed.attempts": {"application": {"r": "message_id, outcome, ended_at"}},
    "workshed.dead": {
        "application": {"r": "message_id, error_class, died_at"},
        "monitor": {
            "r": "message_id, generation, attempt, queue, actor, error_class, died_at, "
            "error_location, release"
        },
    },
}
"""Rights on single columns, by table and role."""

FUNCTIONS: dict[str, tuple[str, ...]] = {
    "workshed.send": ("sender", "application", "worker", "operator"),
    "workshed.insert_with_key": ("sender", "application", "worker", "operator"),
    "workshed.create_periodic_run": ("relay", "clock", "operator"),
    "workshed.drop_runs_partitions": ("relay",),
    "workshed.audit_login": ("reader", "operator"),
    "workshed.count_login": ("reader", "operator"),
    "workshed.count_runs": (),  # only for its trigger
    "workshed.count_unrecorded_runs": ("worker",),
}
"""Functions that not every account may execute, with the roles that may."""

SEQUENCES: dict[str, tuple[str, ...]] = {
    "workshed.runs_id": ("worker", "operator"),
    "workshed.limit_waiter_seq": ("worker",),
}


@dataclass(frozen=True, kw_only=True)
class Grants:
    """Rights in one schema; every name is qualified with it, as in `store.orders`.

    Raises `SettingsError` for a name of another schema, a role that is not one of `ROLES`, or an
    unknown letter.
    """

    schema: str
    tables: Mapping[str, Rights]
    columns: Mapping[str, Mapping[str, Rights]] = field(default_factory=dict)
    """By table and role: the letters of `Rights`, each with its columns: `{"r": "id, name"}`."""
    functions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By function that is not open to all: the roles that may execute it."""
    sequences: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By sequence: the roles that may draw numbers from it."""

    def __post_init__(self) -> None:
        """Check names and letters, because they become SQL."""
        of_tables = [
            (table, letters) for table, by in self.tables.items() for letters in by.values()
        ]
        for table, some in self.columns.items():
            of_tables += [(table, letter) for by_letter in some.values() for letter in by_letter]
        for table, letters in of_tables:
            for letter in letters:
                if letter not in VERBS:
                    raise SettingsError(
                        f"grants: {letter!r} of {table} is none of {', '.join(VERBS)}"
                    )
        for role, what, on in self:
            if not on.split()[1].startswith(f"{self.schema}."):
                raise SettingsError(f"grants: {what} ON {on} is not of schema {self.schema!r}")
            if role not in ROLES:
                raise SettingsError(f"grants: {role!r} is not a role; there are {', '.join(ROLES)}")

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        """Yield each grant: the role, the privilege, and the object."""
        for table, rights in self.tables.items():
            for role, letters in rights.items():
                yield role, ", ".join(VERBS[letter] for letter in letters), f"TABLE {table}"
        for table, some in self.columns.items():
            for role, by_letter in some.items():
                for letter, columns in by_letter.items():
                    yield role, f"{VERBS[letter]} ({columns})", f"TABLE {table}"
        for function, roles in self.functions.items():
            yield from ((role, "EXECUTE", f"FUNCTION {function}") for role in roles)
        for sequence, roles in self.sequences.items():
            yield from ((role, "USAGE", f"SEQUENCE {sequence}") for role in roles)


OWN_GRANTS = Grants(
    schema="workshed", tables=TABLES, columns=COLUMNS, functions=FUNCTIONS, sequences=SEQUENCES
)


def list_grants() -> tuple[Grants, ...]:
    """Return Workshed's grants and those that the `App` names."""
    return (OWN_GRANTS, *map(load_object, get_app().grants))


def grant_script(prefix: str, of: Iterable[Grants]) -> Iterator[str]:
    """Yield the SQL that creates the roles and gives them exactly these rights.

    Run it again after each migration. `prefix` consists of letters, digits and underscores.
    """
    names = [f"{prefix}_{role}" for role in ROLES]
    yield "BEGIN;"
    for name, meant in zip(names, ROLES.values(), strict=True):
        yield f"-- {meant}"
        yield (
            f"DO $$ BEGIN IF to_regrole('{name}') IS NULL "
            f"THEN CREATE ROLE {name} NOLOGIN; END IF; END $$;"
        )
    everybody = ", ".join(names)
    listed = tuple(of)
    for schema in dict.fromkeys(grants.schema for grants in listed):
        for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
            yield f"REVOKE ALL ON ALL {kind} IN SCHEMA {schema} FROM {everybody};"
        yield f"GRANT USAGE ON SCHEMA {schema} TO {everybody};"
    for grants in listed:
        for role, what, on in grants:
            yield f"GRANT {what} ON {on} TO {prefix}_{role};"
    yield "COMMIT;"
