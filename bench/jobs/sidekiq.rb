# Sidekiq's jobs, which record their starts as the jobs of the other peers do.

require "sidekiq"

redis = {url: ENV.fetch("BENCH_REDIS_URL")}
Sidekiq.default_configuration.tap do |config|
  config.redis = redis
  config.logger.level = Logger::WARN
  config[:skip_default_job_logging] = true
end

NAP_S = 0.005

def now_ns = Process.clock_gettime(Process::CLOCK_REALTIME, :nanosecond)

def thread_cpu_ns = Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID, :nanosecond)

def marks = $marks ||= File.open(ENV.fetch("BENCH_MARKS"), "ab")

# Blocks the first jobs of a process until `bench.marks.Gate` opens.
def wait_for_gate
  $gate_is_open ||= begin
    path = ENV["BENCH_GATE"]
    File.open(path, "rb") { |gate| gate.flock(File::LOCK_SH) } if path
    true
  end
end

def record_start(sent_ns)
  wait_for_gate
  marks.syswrite([sent_ns, now_ns].pack("q<q<"))
end

def compute(cpu_ms)
  end_ns = thread_cpu_ns + cpu_ms * 1_000_000
  nil while thread_cpu_ns < end_ns
end

class Noop
  include Sidekiq::Job

  def perform(sent_ns) = record_start(sent_ns)
end

class Nap
  include Sidekiq::Job

  def perform(sent_ns)
    record_start(sent_ns)
    sleep(NAP_S)
  end
end

class Compute1ms
  include Sidekiq::Job

  def perform(sent_ns)
    record_start(sent_ns)
    compute(1)
  end
end

class Compute5ms
  include Sidekiq::Job

  def perform(sent_ns)
    record_start(sent_ns)
    compute(5)
  end
end

JOBS = {"noop" => Noop, "nap" => Nap, "compute_1ms" => Compute1ms, "compute_5ms" => Compute5ms}
