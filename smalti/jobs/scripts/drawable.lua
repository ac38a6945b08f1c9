-- drawable.lua: say which models can be drawn now.
-- KEYS  1 meta
-- Returns a line for each worker with a lease: the digests of the models it has loaded, separated by spaces.

local lines = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), int(now), '+inf')) do
  lines[#lines + 1] = redis.call('HGET', key('worker', worker), 'digests') or ''
end
return lines
