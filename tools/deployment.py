"""Write the manifests of `deploy/` from the library's templates: `python -m tools.deployment`.

They are those that `workshed init` writes, for the queues and the groups of workers of this
service. The image, the overlays and the tests of the rules are this repository's own.
"""

from pathlib import Path

from brokers.app import QUEUES
from workshed.console.scaffold.render import render_deployment
from workshed.console.scaffold.service import Service, WorkerGroup

FOLDER = Path(__file__).parent.parent / "deploy"
SERVICE = Service(
    name="workshed",
    package="shop",
    title="Workshed",
    packages=("actors", "brokers", "middleware", "shop"),
    queues=QUEUES,
    groups=(
        WorkerGroup(
            name="quick",
            queues=("critical", "default", "scheduled", "low"),
            processes=2,
            port=9191,
        ),
        WorkerGroup(name="mail", queues=("emails", "bulk"), port=9192),
        WorkerGroup(
            name="heavy",
            queues=("images", "imports"),
            threads=4,
            port=9193,
            memory="3Gi",
            memory_reason="Each image is decoded in a process of its own, of "
            "SHOP_IMAGE_MEMORY_BYTES at most: two at a time.",
        ),
    ),
    clock=True,
    mail=True,
    storage=True,
    rule_files=("shop-rules.yml",),
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
