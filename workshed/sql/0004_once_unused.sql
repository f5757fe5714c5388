-- -------------------------------------------------------------------------------------------------
-- Actors with once=True that promise more than they do
-- -------------------------------------------------------------------------------------------------

-- When a job of the actor, with `once=True`, last ended without having used its transaction: what
-- it wrote on a connection of its own, it may write twice. `workshed doctor` and the console warn.
ALTER TABLE workshed.actors ADD COLUMN once_unused_at timestamptz;
