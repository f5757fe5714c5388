"""All commands of `workshed` and of the shop, and what they do."""

from tools.reference import commands

KNOWN = commands()
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
"""What deletes, or sends what cannot be called back: they count, ask, and can be tried."""
CHANGING = {
    "campaigns add",
    "campaigns pause",
    "campaigns send-test",
    "enqueue",  # the job that was named, and cancelled by its id
    "import",  # adds users
    "mail try",  # tries sooner what would be tried anyway
    "queues pause",
    "queues resume",
    "periodic pause",
    "periodic resume",
    "periodic run",
    "scheduled move",
    "scheduled rules delete",  # jobs run that somebody has sent
    "scheduled run",
    "sync add",
    "sync release",  # asks sooner what would be asked anyway
    "workers quiet",  # until it is resumed
    "workers resume",
}
"""What changes something else: the audit has each, as it has what is final."""
READING = {
    "batches list",
    "batches show",
    "broker check",
    "broker definitions",  # prints; what makes passwords writes them into the file that was named
    "broker setup",  # makes what is missing, and refuses what differs
    "campaigns list",
    "campaigns preview",
    "campaigns recipients",
    "campaigns show",
    "console",
    "console user",
    "dead list",
    "dead show",
    "doctor",
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
"""What only reads, makes what is missing, or runs processes; `console user` prints an entry."""
HARMLESS = CHANGING | READING
NOTED = FINAL - {"dev"} | CHANGING
"""What stands in the audit; `dev --reset` wipes that with all the rest."""


def options(command):
    """The options of a command."""
    return {word for one in command.params for word in one.opts if word.startswith("-")}


def meant(line):
    """The command that a line calls: `dead list` of `dead --group`."""
    found = ""
    for word in line.split():
        longer = f"{found} {word}".strip()
        if any(f"{name} ".startswith(f"{longer} ") for name in KNOWN):
            found = longer
    return found if found in KNOWN else f"{found} {LIST}"
