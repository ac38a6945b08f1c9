-- drawable.lua: say which models can be drawn now.
-- KEYS  1 meta
-- Returns lines: the digests of the models that a worker with a lease has loaded, separated by spaces. Most workers have
-- the same; each line comes once.

local lines, known = {}, {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), int(now), '+inf')) do
  local line = redis.call('HGET', key('worker', worker), 'digests') or ''
  if not known[line] then lines[#lines + 1] = line end
  known[line] = true
end
return lines
