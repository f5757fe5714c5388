"""`deploy/compose.yaml` as parsed by Docker's own program."""

import json
import subprocess

from tests.root import ROOT

DEPLOY = ROOT / "deploy"
SECRETS = {
    "RABBITMQ_PASSWORD": "r",
    "POSTGRES_PASSWORD": "p",
    "GRAFANA_PASSWORD": "g",
    "SECRET_KEY": "k" * 40,
    "CONSOLE_USERS": "'olga:operator:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA'",
}


def composed(folder):
    """Return its services by name, with the values of a `.env`; unknown keys are refused."""
    written = folder / "env"
    written.write_text("".join(f"{name}={value}\n" for name, value in SECRETS.items()))
    words = ("docker-compose", "--env-file", str(written), "--file", str(DEPLOY / "compose.yaml"))
    words += ("config", "--format", "json")
    env = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.replace("$$", "$"))
