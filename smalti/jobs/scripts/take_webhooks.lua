-- take_webhooks.lua: hand out webhooks that are due, to be sent now. Nobody else gets them for a while.
-- KEYS  1 meta
-- ARGV  1 most webhooks   2 ms after which they are handed out again if nobody said how it went
-- Returns for each {job id, number of this try}. Those of jobs that are gone are forgotten.

allow_beyond_memory_limit()
local taken = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('webhooks'), '-inf', int(now), 'LIMIT', '0', ARGV[1])) do
  local job = find(id)
  if job and ENDED[job.state] then
    redis.call('ZADD', key('webhooks'), int(now + tonumber(ARGV[2])), id)
    taken[#taken + 1] = {id, redis.call('HINCRBY', job.key, 'webhook_tries', '1')}
  else
    redis.call('ZREM', key('webhooks'), id)
  end
end
return taken
