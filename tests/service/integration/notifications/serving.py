"""The application as served by the tests: `python -m … PORT SWEEP_S SEND_S`."""

import sys

import uvicorn

from shop.web.pictures import create_app


def attach(conn, user_id, filename, blob):
    """Store an attachment without sending a job, because these tests have none."""
    query = """
        INSERT INTO shop.attachments (user_id, filename, sha256)
        VALUES (%s, %s, %s)
        RETURNING id
    """
    return conn.execute(query, (user_id, filename, blob.sha256)).fetchone()[0]


if __name__ == "__main__":
    port, (sweep_s, send_s) = int(sys.argv[1]), map(float, sys.argv[2:])
    application = create_app(attach=attach, sweep_s=sweep_s, send_s=send_s)
    uvicorn.run(application, host="127.0.0.1", port=port)
