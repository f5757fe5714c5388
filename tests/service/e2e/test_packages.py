"""An application's own package of actors that builds on the service's actors."""

BOTH = """
import dramatiq
from actors import deliver_email, send_welcome_email
from workshed import broker
from shop import people
from workshed import db

@dramatiq.actor(broker=broker, queue_name="default")
def greet_again(user_id: int) -> None:
    with db.transaction() as conn:
        people.get_user(conn, user_id)
    send_welcome_email.send(user_id)
"""


def test_a_package_that_imports_ours(
    start_worker, run, environment, mail_server, conn, count, tmp_path, eventually
):
    (tmp_path / "my_shop.py").write_text(BOTH)
    start_worker("my_shop")

    sent = run(
        "-c",
        "import my_shop\n"
        "with my_shop.db.transaction() as conn:\n"
        "    user = my_shop.people.create(conn, name='Ada', email='ada@example.org')\n"
        "my_shop.greet_again.send(user.id)\n",
        **environment,
    )

    assert sent == (0, "")
    eventually(lambda: count("shop.users WHERE welcomed_at IS NOT NULL") == 1)
    assert [mail.recipients for mail in mail_server.received] == [("ada@example.org",)]
