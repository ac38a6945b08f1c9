-- expire.lua: forget jobs whose retention has passed.
-- KEYS  1 meta
-- ARGV  1 most jobs to forget in this call
-- Returns the number of jobs forgotten.

allow_beyond_memory_limit()
local due = redis.call('ZRANGEBYSCORE', key('expiry'), '-inf', int(now), 'LIMIT', '0', ARGV[1])
for _, id in ipairs(due) do
  local job = find(id)
  if job then forget_job(job) end
  redis.call('ZREM', key('jobs'), id)
  redis.call('ZREM', key('expiry'), id)
end
return #due
