"""Write the manifests of `deploy/` from the library's templates: `python -m tools.deployment`.

They are those that `workshed init` writes, for the queues and the groups of workers of this
service. The image, the alerts of the sample service and the tests of all alerts are this
repository's own.
"""

from pathlib import Path

from brokers.app import QUEUES
from workshed import __version__
from workshed.console.scaffold.render import render_deployment
from workshed.console.scaffold.service import Service, WorkerGroup

FOLDER = Path(__file__).parent.parent / "deploy"
SHOP_RULES = FOLDER / "prometheus" / "shop-rules.yml"
SERVICE = Service(
    name="workshed",
    package="shop",
    title="Workshed",
    version=__version__,
    packages=("actors", "brokers", "middleware", "shop"),
    queues=QUEUES,
    groups=(
        WorkerGroup(
            name="quick",
            queues=("critical", "default", "scheduled", "low"),
            processes=2,
            port=9191,
            min_pods=2,
            max_pods=10,
        ),
        WorkerGroup(name="mail", queues=("emails", "bulk"), port=9192, wait_per_pod_s=300),
        WorkerGroup(
            name="heavy",
            queues=("images", "imports"),
            threads=4,
            port=9193,
            memory="3Gi",
            memory_reason="Each image is decoded in a process of its own, of "
            "SHOP_IMAGE_MEMORY_BYTES at most: two at a time.",
            max_pods=6,
            wait_per_pod_s=120,
        ),
    ),
    clock=True,
    mail=True,
    storage=True,
    rule_files={SHOP_RULES.name: SHOP_RULES.read_text("utf-8")},
    roles_page="docs/roles.md",
    runbooks_page="docs/runbooks.md",
)


def main() -> None:
    """Write the files."""
    for path, text in render_deployment(SERVICE).items():
        file = FOLDER / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
