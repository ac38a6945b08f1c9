-- drawable.lua: which models can be drawn now.
-- KEYS  1 meta
-- Returns the digests that each worker with a lease has loaded, a line of words for each worker.

local lines = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), int(now), '+inf')) do
  lines[#lines + 1] = redis.call('HGET', key('worker', worker), 'digests') or ''
end
return lines
