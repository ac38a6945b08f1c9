-- pause.lua: hand out no more samples of a job. Workers that draw some give them back with all rows.
-- KEYS  1 meta
-- ARGV  1 job id   2 the client that asks   3 1 if it sees the jobs of all clients
-- Returns 'PAUSED' even if it was paused before, 'OVER' if it has ended or was stopped, 'DAMAGED', or 'MISSING' if the
-- client sees no such job.

local job = find_for(ARGV[2], ARGV[3], ARGV[1])
if not job then return 'MISSING' end
if job.damaged then return 'DAMAGED' end
if job.state == 'PAUSED' then return 'PAUSED' end
if not GOES_ON[job.state] then return 'OVER' end

allow_beyond_memory_limit()
redis.call('HSET', job.key, 'state', 'PAUSED')
unlist_ready(job)
redis.call('ZREM', key('queued'), job.id)
charge(job, 'paused', 1)
charge(job, 'ready', -waiting_samples(job))
write_sums()
announce(job.id)
return 'PAUSED'
