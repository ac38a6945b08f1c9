-- cancel.lua: stop a job. Waiting samples are cancelled now, running ones at their worker's next commit or when its lease
-- ends. Ended samples stay, and a job that has ended does not change.
-- KEYS  1 meta
-- ARGV  1 job id   2 the client that asks   3 1 if it sees the jobs of all clients
-- Returns 'CANCELLED' even if it had ended before, 'DAMAGED', or 'MISSING' if the client sees no such job.

local job = find_for(ARGV[2], ARGV[3], ARGV[1])
if not job then return 'MISSING' end
if job.damaged then return 'DAMAGED' end
if job.state ~= 'QUEUED' and job.state ~= 'RUNNING' then return 'CANCELLED' end

allow_beyond_memory_limit()
local running = redis.call('SCARD', key('running', job.id))
local waiting = job.count - job.done - job.failed - job.cancelled - running  -- and samples that an interrupted script lost
for _, set in ipairs({'returned', 'suspects'}) do
  local given_back = redis.call('ZRANGE', key(set, job.id), 0, -1)
  for _, index in ipairs(given_back) do forget_sample(job, index) end
  redis.call('DEL', key(set, job.id))
end
job.state = 'CANCELLING'
redis.call('HSET', job.key, 'state', 'CANCELLING')
add(job, 'next', job.count - job.next)
add(job, 'cancelled', waiting)
charge(job, 'ready', -waiting)
charge(job, 'pixels', -waiting * job.sample_pixels)
charge(job, 'bytes', -waiting * job.sample_bytes)
unlist_ready(job)
conclude()
announce(job.id)
return 'CANCELLED'
