"""Store contents and attachments without the jobs that usually do so."""

import hashlib

from workshed.contrib.storage import storage


def keep(conn, content):
    """Store a content with its row and return its SHA-256; needs an autocommit connection."""
    sha256 = hashlib.sha256(content).hexdigest()
    query = "INSERT INTO workshed_storage.blobs VALUES (%s, %s) ON CONFLICT DO NOTHING"
    conn.execute(query, (sha256, len(content)))
    with storage().draft() as draft:
        draft.write(content)
        storage().keep(draft, sha256)
    return sha256


def attach(conn, user_id, filename, content):
    """Store an attachment of a user and return its id."""
    query = """
        INSERT INTO shop.attachments (user_id, filename, sha256)
        VALUES (%s, %s, %s)
        RETURNING id
    """
    return conn.execute(query, (user_id, filename, keep(conn, content))).fetchone()[0]
