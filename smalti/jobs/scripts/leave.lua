-- leave.lua: forget a worker that stops. Samples that it still holds are given back, and no crash is counted.
-- KEYS  1 meta
-- ARGV  1 worker
-- Returns nothing.

allow_beyond_memory_limit()
local worker, touched = ARGV[1], {}
local held = redis.call('HKEYS', key('held', worker))
for _, member in ipairs(held) do
  local id, index = string.match(member, '^(.+):(%d+)$')
  take_from(worker, id, index)
  local job = find(id)
  if job then
    return_sample(job, index, '', crashes_of(job, index))
    touched[id] = true
  end
end
conclude()
redis.call('ZREM', key('workers'), worker)
redis.call('DEL', key('worker', worker))
if #held > 0 then ring_bell() end
for id in pairs(touched) do announce(id) end
