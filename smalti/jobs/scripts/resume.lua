-- resume.lua: hand out the samples of a paused job again. Its turn comes after those of the other jobs.
-- KEYS  1 meta
-- ARGV  1 job id   2 the client that asks   3 1 if it sees the jobs of all clients
-- Returns 'RESUMED' even if it was not paused, 'OVER' if it has ended or was stopped, 'DAMAGED', or 'MISSING' if the
-- client sees no such job.

local job = find_for(ARGV[2], ARGV[3], ARGV[1])
if not job then return 'MISSING' end
if job.damaged then return 'DAMAGED' end
if not GOES_ON[job.state] then return 'OVER' end
if job.state ~= 'PAUSED' then return 'RESUMED' end

allow_beyond_memory_limit()
local was_begun, waiting = job.fingerprint ~= '', waiting_samples(job)
redis.call('HSET', job.key, 'state', was_begun and 'RUNNING' or 'QUEUED')
if not was_begun then redis.call('ZADD', key('queued'), int(job.created), job.id) end
if waiting > 0 then list_ready(job, int(redis.call('HINCRBY', meta, 'turn', '1')), job.id) end
charge(job, 'paused', -1)
charge(job, 'ready', waiting)
write_sums()
interactive = job.class == 'interactive'
ring_bell()
announce(job.id)
return 'RESUMED'
