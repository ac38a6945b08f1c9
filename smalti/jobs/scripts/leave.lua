-- leave.lua: forget a worker that stops. Samples that it still holds are given back, and no crash is counted.
-- KEYS  1 meta
-- ARGV  1 worker   2 most samples to give back in this call
-- Returns 1 if it holds more, else 0. Until then the worker keeps its lease.

allow_beyond_memory_limit()
local worker, touched = ARGV[1], {}
local held = key('held', worker)
local members = redis.call('ZRANGE', held, 0, tonumber(ARGV[2]) - 1)
for _, member in ipairs(members) do
  local id, index = string.match(member, '^(.+):(%d+)$')
  take_from(worker, id, index)
  local job = find(id)
  if job then
    return_sample(job, index, '', crashes_of(job, index))
    touched[id] = true
  end
end
conclude()
if #members > 0 then ring_bell() end
for id in pairs(touched) do announce(id) end
if redis.call('EXISTS', held) == 1 then return 1 end
redis.call('ZREM', key('workers'), worker)
redis.call('DEL', key('worker', worker))
return 0
