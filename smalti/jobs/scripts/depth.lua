-- depth.lua: count what is in the queue, from the totals; the cost does not grow with the queue.
-- KEYS  1 meta
-- Returns {jobs not ended, queued and paused jobs among them, samples ready, workers with a lease, age in ms of the oldest queued
-- job}. Running samples are counted by running.lua.

local totals = redis.call('HMGET', key('totals'), 'jobs', 'ready', 'paused')
local oldest = redis.call('ZRANGE', key('queued'), 0, 0, 'WITHSCORES')
return {
  tonumber(totals[1] or '0'),
  redis.call('ZCARD', key('queued')),
  tonumber(totals[3] or '0'),
  tonumber(totals[2] or '0'),
  redis.call('ZCOUNT', key('workers'), int(now), '+inf'),
  oldest[2] and math.max(0, now - tonumber(oldest[2])) or 0,
}
