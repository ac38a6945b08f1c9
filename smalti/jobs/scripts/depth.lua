-- depth.lua: how much is in the queue, from the totals; its cost does not grow with the queue.
-- KEYS  1 meta
-- Returns {jobs not ended, of those queued, samples ready, samples held, workers with a lease, age in ms of the
-- oldest queued job}.

local totals = redis.call('HMGET', meta, 'live', 'ready', 'running')
local oldest = redis.call('ZRANGE', key('queued'), 0, 0, 'WITHSCORES')
return {
  tonumber(totals[1] or '0'),
  redis.call('ZCARD', key('queued')),
  tonumber(totals[2] or '0'),
  tonumber(totals[3] or '0'),
  redis.call('ZCOUNT', key('workers'), int(now), '+inf'),
  oldest[2] and math.max(0, now - tonumber(oldest[2])) or 0,
}
