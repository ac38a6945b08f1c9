-- expire.lua: forget jobs whose retention has passed.
-- KEYS  1 meta
-- ARGV  1 most jobs to forget in this call
-- Returns the number of jobs forgotten. If Redis removed a job's record first, because nobody called this for long, the
-- next recount corrects the totals.

allow_beyond_memory_limit()
local due = redis.call('ZRANGEBYSCORE', key('expiry'), '-inf', int(now), 'LIMIT', '0', ARGV[1])
for _, member in ipairs(due) do
  local id, client = string.match(member, '^(%S*) ?(.*)$')
  local job = find_even_damaged(id)
  if job and job.damaged then forget_damaged(job) elseif job then forget_job(job) end
  unlist(id, client)
  redis.call('ZREM', key('expiry'), member)
end
write_sums()
return #due
