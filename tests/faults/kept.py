"""Outcomes of a campaign of hours, kept in a folder: one that is broken off goes on from there."""

import json
from dataclasses import asdict
from pathlib import Path

from tests.faults.experiment import Experiment, Result
from tests.faults.outcome import Outcome, Run


def keep(folder: Path, outcome: Outcome, scale: str) -> None:
    """Write it down whole, under its name."""
    found = {
        "scale": scale,
        "seconds": outcome.seconds,
        "run": asdict(outcome.run),
        "without": asdict(outcome.without),
    }
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{outcome.experiment.name}.part"
    part.write_text(json.dumps(found, indent=2))
    part.rename(part.with_suffix(".json"))


def passed_before(folder: Path, e: Experiment, scale: str) -> Outcome | None:
    """Return its outcome when it was run at this scale and passed; `None`: it is to be run."""
    file = folder / f"{e.name}.json"
    if not file.exists():
        return None
    found = json.loads(file.read_text())
    outcome = Outcome(e, as_run(found["run"]), as_run(found["without"]), found["seconds"])
    return outcome if found["scale"] == scale and outcome.passed else None


def as_run(fields: dict[str, object]) -> Run:
    """Read a run back."""
    result = fields.pop("result")
    return Run(**fields, result=Result(**result) if result else None)  # type: ignore[arg-type] -- JSON
