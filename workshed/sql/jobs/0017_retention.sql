-- Relays delete expired records. Which batches have expired is asked every hour, by when they ended.
CREATE INDEX batches_by_completion ON jobs.batches (completed_at) WHERE completed_at IS NOT NULL;

-- When a relay last found nothing more to delete of each kind; the doctor warns when that is long ago.
CREATE TABLE jobs.pruned (
    name    text PRIMARY KEY,
    done_at timestamptz NOT NULL DEFAULT jobs.now()
);

INSERT INTO jobs.pruned (name)
VALUES ('dead jobs'), ('attempts'), ('batches'), ('periodic jobs'), ('periodic runs'), ('history');
