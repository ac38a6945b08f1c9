-- deadline.lua: stop jobs whose deadline has passed. They end FAILED, with the reason DEADLINE_EXCEEDED.
-- KEYS  1 meta
-- ARGV  1 most jobs to look at in this call
-- Returns {jobs stopped, 1 if there are more to look at, else 0}.

allow_beyond_memory_limit()
local due = redis.call('ZRANGEBYSCORE', key('deadlines'), '-inf', int(now), 'LIMIT', '0', ARGV[1])
local stopped = {}
for _, id in ipairs(due) do
  local job = find(id)
  if job and GOES_ON[job.state] then
    stop(job, 'DEADLINE_EXCEEDED')
    stopped[#stopped + 1] = id
  else
    redis.call('ZREM', key('deadlines'), id)  -- it is gone or damaged
  end
end
conclude()
for _, id in ipairs(stopped) do announce(id) end
return {#stopped, #due == tonumber(ARGV[1]) and 1 or 0}
