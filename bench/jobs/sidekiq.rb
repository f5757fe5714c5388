# Sidekiq's job, which records its start as the jobs of the other peers do.

require "sidekiq"

redis = {url: ENV.fetch("BENCH_REDIS_URL")}
Sidekiq.default_configuration.tap do |config|
  config.redis = redis
  config.logger.level = Logger::WARN
end

MARKS = File.open(ENV.fetch("BENCH_MARKS"), "ab")

def now_ns = Process.clock_gettime(Process::CLOCK_REALTIME, :nanosecond)

class Noop
  include Sidekiq::Job

  def perform(sent_ns)
    MARKS.syswrite([sent_ns, now_ns].pack("q<q<"))
  end
end
