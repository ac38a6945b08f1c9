-- delete.lua: forget a job that has ended, and its results.
-- KEYS  1 meta
-- ARGV  1 job id   2 a word of this call, the same if it is sent twice
-- Returns 'DELETED', 'RUNNING' if it has not ended, or 'MISSING'.

local id = ARGV[1]
local job = find(id)
if not job then return redis.call('GET', key('deleted', id)) == ARGV[2] and 'DELETED' or 'MISSING' end
if redis.call('HEXISTS', job.key, 'ended') == 0 then return 'RUNNING' end

allow_beyond_memory_limit()
forget_job(job)
redis.call('ZREM', key('jobs'), id)
redis.call('ZREM', key('expiry'), id)
redis.call('SET', key('deleted', id), ARGV[2], 'PX', '60000')
announce(id)
return 'DELETED'
