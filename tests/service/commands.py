"""All commands of `workshed` and of the shop, by the kind of their effect."""

from tools.reference import list_commands

KNOWN = list_commands()
LIST = "list"
FINAL = {
    "batches cancel",
    "batches retry",
    "campaigns cancel",
    "campaigns resume",
    "campaigns start",
    "dead discard",
    "dead requeue",
    "dead retry",
    "dev",  # --reset
    "erase",
    "job cancel",
    "mail arrived",
    "mail release",
    "queues purge",
    "scheduled cancel",
    "storage import-existing",
    "sync remove",
    "unique release",
}
"""Commands with irreversible effects: they show a count, ask, and have a dry run."""
CHANGING = {
    "adopt",  # moves jobs from another server, and runs until it is stopped
    "broker drain",  # jobs run all the same
    "campaigns add",
    "campaigns pause",
    "campaigns send-test",
    "console logout",  # users may log in again
    "enqueue",  # sends the named job, which can be cancelled by its id
    "import",  # adds users
    "mail try",  # only makes an attempt earlier
    "queues pause",
    "queues resume",
    "periodic pause",
    "periodic resume",
    "periodic run",
    "scheduled move",
    "scheduled rules delete",  # jobs run that were sent anyway
    "scheduled run",
    "sync add",
    "sync release",  # only makes a request earlier
    "workers quiet",  # until it is resumed
    "workers resume",
}
"""Other commands that change something: the audit records them, as it does `FINAL`."""
READING = {
    "batches list",
    "batches show",
    "broker check",
    "broker definitions",  # prints; new passwords are written into the named file
    "broker setup",  # creates what is missing, and refuses what differs
    "campaigns list",
    "campaigns preview",
    "campaigns recipients",
    "campaigns show",
    "console",
    "console token",
    "console user",
    "dead list",
    "dead show",
    "doctor",
    "init",  # writes a folder that does not exist yet
    "job",
    "jobs",
    "limits list",
    "mail list",
    "migrate",  # forward only, and --sql shows it
    "queues list",
    "periodic list",
    "relay",
    "roles",  # prints
    "scheduled list",
    "scheduled rules list",
    "scheduled show",
    "sync list",
    "sync skipped",
    "unique list",
    "worker",
    "workers list",
}
"""Commands that read, create what is missing, or run processes; `console user` and `token` print an
entry."""
HARMLESS = CHANGING | READING
NOTED = FINAL - {"dev"} | CHANGING
"""Commands in the audit; `dev --reset` deletes the audit with everything else."""


def options(command):
    """Return the options of a command."""
    return {word for one in command.params for word in one.opts if word.startswith("-")}


def meant(line):
    """Return the command that a line calls: `dead list` for `dead --group`."""
    found = ""
    for word in line.split():
        longer = f"{found} {word}".strip()
        if any(f"{name} ".startswith(f"{longer} ") for name in KNOWN):
            found = longer
    return found if found in KNOWN else f"{found} {LIST}"
