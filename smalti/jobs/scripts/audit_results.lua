-- audit_results.lua: correct what a job counts as done and failed, after its results were counted.
-- KEYS  1 meta
-- ARGV  1 job id   2 results that succeeded   3 results that failed   4 the samples in the order of their ends, 4 bytes each
-- Returns 1 if this was written, else 0: the job is gone, or a sample has ended since the count began.

local job = find(ARGV[1])
if not job then return 0 end
local done, failed, number = tonumber(ARGV[2]), tonumber(ARGV[3]), 0
for chunk = 0, math.floor((job.count - 1) / CHUNK) do
  number = number + redis.call('HLEN', key('result', job.id, int(chunk)))
end
if number ~= done + failed then return 0 end

allow_beyond_memory_limit()
add(job, 'done', done - job.done)
add(job, 'failed', failed - job.failed)
if ARGV[4] == '' then redis.call('DEL', key('ended', job.id)) else redis.call('SET', key('ended', job.id), ARGV[4], 'KEEPTTL') end
write_sums()
announce(job.id)
return 1
