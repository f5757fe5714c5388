-- -------------------------------------------------------------------------------------------------
-- Actors with once=True that promise more than they do
-- -------------------------------------------------------------------------------------------------

-- Waits for transactions of applications that have called `workshed.send`, and blocks new calls
-- meanwhile. Run `workshed migrate` again if it fails.
SET LOCAL lock_timeout = '5s';

-- When a job of the actor, with `once=True`, last ended without having used its transaction: what
-- it wrote on a connection of its own, it may write twice. `workshed doctor` and the console warn.
ALTER TABLE workshed.actors ADD COLUMN once_unused_at timestamptz;
