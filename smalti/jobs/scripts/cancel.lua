-- cancel.lua: stop a job. Waiting samples are cancelled now, running ones at their worker's next commit or when its lease
-- ends. Ended samples stay, and a job that has ended does not change.
-- KEYS  1 meta
-- ARGV  1 job id
-- Returns 1, or 0 if there is no such job.

local job = find(ARGV[1])
if not job then return 0 end
if job.state ~= 'QUEUED' and job.state ~= 'RUNNING' then return 1 end

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
count(meta, 'ready', -waiting)
count(meta, 'pixels', -waiting * job.sample_pixels)
redis.call('ZREM', ready_key(job.digest, job.class), job.id)
conclude()
announce(job.id)
return 1
