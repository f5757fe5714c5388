"""docs/from-sidekiq.md: its application runs before and after, and each job left behind once."""

from pathlib import Path

import pytest

from tests import pages
from tests.library.counterparts import tables, unknown_names

PAGE = "docs/from-sidekiq.md"
FILES = {
    **pages.files(PAGE, "before"),
    **pages.files(PAGE, "after"),
    **pages.files(PAGE, "move"),
}
SQL = pages.block(PAGE, "sql")
TABLE = (
    "CREATE TABLE orders (id serial PRIMARY KEY, charged int NOT NULL DEFAULT 0, "
    "reminded int NOT NULL DEFAULT 0)"
)
RUBY_GATEWAY = """
module Gateway
  def self.charge(order_id)
    raise IOError, "the provider is away" if File.exist?("away")
  end
end
"""
RAILS = """
require "active_job"
require "globalid"

ActiveJob::Base.queue_adapter = :sidekiq
ActiveJob::Base.logger = Logger.new(IO::NULL)
GlobalID.app = "shop"

class Order
  include GlobalID::Identification
  attr_reader :id
  def initialize(id) = @id = id
end

class RemindJob < ActiveJob::Base
  queue_as :mailers
  def perform(order) = nil
end
"""
LEAVE = """
ChargeJob.perform_async(1)
ChargeJob.set(retry: 0).perform_async(2)
RemindJob.perform_in(3 * 86_400, 3)
"""
LEAVE_MORE = "(5..7).each { |order_id| ChargeJob.perform_async(order_id) }"
LEAVE_OF_RAILS = """
RemindJob.perform_later(Order.new(4))
RemindJob.set(wait: 259_200).perform_later(Order.new(8))
"""
LEAVE_OTHERS = """
Sidekiq::Client.push("class" => "OtherJob", "args" => [1])
Sidekiq::Client.push("class" => "ChargeJob", "args" => [1], "bid" => "of Sidekiq Pro")
"""
COUNTS = """
sets = [Sidekiq::ScheduledSet, Sidekiq::RetrySet, Sidekiq::DeadSet].map { |set| set.new.size }
puts [Sidekiq::Queue.new.size, Sidekiq::Queue.new("mailers").size, *sets].join(" ")
"""
NOT_IN_THE_GEM = {
    "Sidekiq": {
        *("sidekiqswarm", "SIDEKIQ_PRELOAD_APP", "expires_in", "unique_for", "unique_until"),
        "concurrent",
    },
    "ActiveJob": {"unique", "until_executed", "on_conflict", "lock_key_arguments", "unlock"},
}
"""Names of Sidekiq's paid editions, and of the gem for unique jobs."""
EXAMPLES = {"Sidekiq": {"success"}, "ActiveJob": {"user", "hour", "step", "cursor"}}
"""Names that callers choose, and those of ActiveJob 8.1."""
GEM_FOLDER = "print Gem::Specification.find_by_name(ARGV[0]).gem_dir"
WORKER = ("sidekiq", "-r", "./shop_jobs.rb", "-c", "2", "-e", "production")


@pytest.fixture
def sidekiq(redis_shop):
    """The application, with its tables and Sidekiq."""
    assert TABLE in pages.text(PAGE).replace("\n", " ")
    redis_shop.write({**FILES, "gateway.rb": RUBY_GATEWAY, "rails.rb": RAILS})
    redis_shop.execute(TABLE)
    return redis_shop


def count(shop):
    """Return how many jobs are in each queue and set of Sidekiq."""
    return shop.run("ruby", "-r", "sidekiq/api", "-e", COUNTS).splitlines()[-1]


def test_the_application_before_and_after(sidekiq, start_worker, eventually):
    with sidekiq.running(*WORKER) as log:
        sidekiq.run("ruby", "-r", "./shop_jobs.rb", "-e", "place_order(7)")
        eventually(lambda: "charged 7" in log.read_text())
        assert count(sidekiq) == "0 0 1 0 0"

    start_worker("shop_jobs", threads=2)
    sidekiq.execute(SQL)
    eventually(lambda: sidekiq.rows("SELECT * FROM orders") == [(1, 1, 0)])
    sidekiq.make_due()
    eventually(lambda: sidekiq.rows("SELECT * FROM orders") == [(1, 1, 1)])


def test_each_job_runs_once_although_the_move_is_killed(
    sidekiq, redis_url, start_worker, eventually
):
    """Without the `if` on the row of `moved_jobs`, the job in hand at the kill is stored twice."""
    sidekiq.add_orders(8)
    sidekiq.set_gateway_away(True)
    with sidekiq.running(*WORKER):
        sidekiq.run("ruby", "-r", "./shop_jobs.rb", "-e", LEAVE)
        eventually(lambda: count(sidekiq) == "0 0 1 1 1")
    sidekiq.set_gateway_away(False)
    sidekiq.run("ruby", "-r", "./shop_jobs.rb", "-e", LEAVE_MORE)
    sidekiq.run("ruby", "-r", "./rails.rb", "-e", LEAVE_OF_RAILS)
    assert count(sidekiq) == "3 1 2 1 1"

    sidekiq.python_killed_before("redis:Redis.lrem", "move_jobs.py", redis_url)
    assert count(sidekiq) == "1 1 2 1 1"
    assert sidekiq.rows("SELECT count(*) FROM moved_jobs") == [(3,)]
    assert sidekiq.python("move_jobs.py", redis_url).split("\n") == [
        "queue:default: 1 of 1 moved",
        "queue:mailers: 1 of 1 moved",
        "schedule: 2 of 2 moved",
        "retry: 1 of 1 moved",
        "dead: 1 of 1 moved",
        "",
    ]
    assert count(sidekiq) == "0 0 0 0 0"

    assert sidekiq.rows("SELECT count(*) FROM workshed.schedule") == [(8,)]
    assert sidekiq.count_due_later() == 3
    start_worker("shop_jobs", threads=2)
    sidekiq.make_due()
    eventually(lambda: sidekiq.count_served_once() == 8)
    assert sidekiq.python("move_jobs.py", redis_url).count(": 0 of 0 moved\n") == 5


def test_the_move_leaves_other_jobs_and_those_of_a_batch(sidekiq, redis_url):
    sidekiq.run("ruby", "-r", "sidekiq", "-e", LEAVE_OTHERS)

    assert "queue:default: 0 of 2 moved\n" in sidekiq.python("move_jobs.py", redis_url)

    assert count(sidekiq) == "2 0 0 0 0"


@pytest.mark.parametrize("system", ["Sidekiq", "ActiveJob"])
def test_its_names_exist_there(system, redis_shop):
    folder = Path(redis_shop.run("ruby", "-e", GEM_FOLDER, system.lower()))

    unknown = unknown_names(tables(PAGE)[system], folder, ".rb")
    assert unknown - NOT_IN_THE_GEM[system] - EXAMPLES[system] == set()
