"""`python -m bench`: it runs, and prints what its readers expect. Figures are not judged."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FIELDS = {"name", "value", "unit", "peer", "peer_value", "ratio", "target", "met"}


def test_it_measures_and_writes_json_and_a_plot(tmp_path):
    only = [word for name in ("enqueue", "naps", "relay") for word in ("--only", name)]

    done = subprocess.run(
        [sys.executable, "-m", "bench", "--smoke", "--json", *only],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"cores", "rabbitmq", "dramatiq", "celery"} <= found["surroundings"].keys()
    for one in found["measurements"]:
        assert one.keys() == FIELDS
        assert one["value"] > 0
        assert (one["peer"] is None) == (one["ratio"] is None)
        assert (one["target"] is None) == (one["met"] is None)
    names = {one["name"] for one in found["measurements"]}
    assert {"enqueue_many", "enqueue, 8 threads", "5 ms jobs -p 2", "relay"} <= names
    assert json.loads((tmp_path / "bench-results" / "bench.json").read_text()) == found
    assert (tmp_path / "bench-results" / "bench.png").read_bytes().startswith(b"\x89PNG")
