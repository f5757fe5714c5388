"""Contents and attachments as they are stored, without the jobs that store them."""

import hashlib

from workshed.contrib.storage import storage


def keep(conn, content):
    """Keep a content with its row; its SHA-256. The connection is in autocommit."""
    sha256 = hashlib.sha256(content).hexdigest()
    query = "INSERT INTO workshed_storage.blobs VALUES (%s, %s) ON CONFLICT DO NOTHING"
    conn.execute(query, (sha256, len(content)))
    with storage().draft() as draft:
        draft.write(content)
        storage().keep(draft, sha256)
    return sha256


def attach(conn, user_id, filename, content):
    """Store that somebody has uploaded a content; the id of the attachment."""
    query = """
        INSERT INTO shop.attachments (user_id, filename, sha256)
        VALUES (%s, %s, %s)
        RETURNING id
    """
    return conn.execute(query, (user_id, filename, keep(conn, content))).fetchone()[0]
