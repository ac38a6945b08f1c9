-- delete.lua: forget a job that has ended, and its results. A damaged job is forgotten in any case.
-- KEYS  1 meta
-- ARGV  1 job id   2 a word of this call, the same if it is sent twice   3 the client that asks
--       4 1 if it sees the jobs of all clients
-- Returns 'DELETED', 'RUNNING' if it has not ended, or 'MISSING' if the client sees no such job.

local id = ARGV[1]
local job = find_for(ARGV[3], ARGV[4], id)
if not job then return redis.call('GET', key('deleted', id)) == ARGV[2] and 'DELETED' or 'MISSING' end
if not job.damaged and redis.call('HEXISTS', job.key, 'ended') == 0 then return 'RUNNING' end

allow_beyond_memory_limit()
if job.damaged then forget_damaged(job) else forget_job(job) end
write_sums()
unlist(id, job.client)
redis.call('SET', key('deleted', id), ARGV[2], 'PX', '60000')
announce(id)
return 'DELETED'
