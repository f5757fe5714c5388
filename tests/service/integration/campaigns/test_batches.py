"""Recipients are handed out in batches with a pause, without reading other recipients."""

from datetime import timedelta

from actors import send_bulk_email
from actors.campaigns import delay_after_batch
from shop import campaigns
from shop.settings import settings
from tests.service.integration.campaigns.conftest import run_out
from workshed import db


def test_recipients_are_handed_out_in_batches_with_a_pause(jobs, post, configured):
    configured(campaign_batch="2", campaign_pause="7")
    post.people(5)

    post.start(number := post.draft())
    jobs.drain()

    assert post.progress(number) == {"sent": 2, "waiting": 3}
    jobs.assert_enqueued(send_bulk_email, in_=timedelta(seconds=7))
    jobs.advance(seconds=7)
    jobs.drain()
    assert post.progress(number) == {"sent": 4, "waiting": 1}


def test_by_default_they_are_a_hundred_and_a_tenth_of_a_second():
    assert (settings().campaign_batch, delay_after_batch(100)) == (100, timedelta(seconds=0.1))


def test_all_are_jobs_of_one_batch(jobs, post, hundred):
    post.people(5)

    post.start(number := post.draft())
    run_out(jobs)

    query = (
        "SELECT description, count(*) FROM workshed.batches "
        "JOIN workshed.batch_jobs ON batch_id = id"
    )
    with db.transaction() as conn:
        found = conn.execute(f"{query} GROUP BY id").fetchall()
    assert found == [(f"campaign {number}", 5)]


def test_no_more_are_handed_out_than_may_be_sent(run_python):
    code = """
from actors.campaigns import RATE_LIMIT, delay_after_batch
print(RATE_LIMIT.size, RATE_LIMIT.span.total_seconds(), delay_after_batch(100).total_seconds())
"""

    assert run_python(code, SHOP_CAMPAIGN_RATE="600") == "10 0.1 10.0\n"
    assert run_python(code, SHOP_CAMPAIGN_RATE="6") == "1 10.0 1000.0\n"


def test_handing_out_a_batch_reads_no_other_recipients(jobs, post, scale):
    """Without statistics about the campaign, the planner alone would sort all for each hundred."""
    post.people(scale(1_000_000))
    number = post.draft()
    read = """
        SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables
         WHERE relname = 'campaign_recipients'
    """
    with db.transaction() as conn:
        assert campaigns.snapshot_audience(conn, number, "00000000-0000-0000-0000-000000000000")

    with db.transaction() as conn:
        handed = campaigns.next_recipients(conn, number, 0, 100)
        rows = conn.execute(read).fetchone()[0]

    assert len(handed.user_ids) == 100
    assert rows < 1_000
