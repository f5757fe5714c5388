# Sends jobs of Sidekiq in bulk: `ruby sidekiq_send.rb JOB COUNT`; prints its timing as JSON.

require "json"
require_relative "sidekiq"

BATCH = 1_000 # Sidekiq's default for `perform_bulk`

def clock(id) = Process.clock_gettime(id)

job, count = JOBS.fetch(ARGV[0]), Integer(ARGV[1])
began, cpu = clock(Process::CLOCK_MONOTONIC), clock(Process::CLOCK_PROCESS_CPUTIME_ID)
(0...count).each_slice(BATCH) { |part| job.perform_bulk(part.map { [now_ns] }, batch_size: BATCH) }
took = clock(Process::CLOCK_MONOTONIC) - began
used = clock(Process::CLOCK_PROCESS_CPUTIME_ID) - cpu
puts JSON.generate({count: count, seconds: took, cpu_s: used})
