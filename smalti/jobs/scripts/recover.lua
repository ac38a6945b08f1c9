-- recover.lua: take samples back from workers whose lease has run out; give up those that crash their workers.
-- If nobody recovered for half a lease, Redis or everybody was away: every worker gets a fresh lease first.
-- KEYS  1 meta
-- ARGV  1 lease, ms   2 most samples in this call
-- Returns {samples taken back, 1 if there are more}.

allow_beyond_memory_limit()
local lease, budget = tonumber(ARGV[1]), tonumber(ARGV[2])
local workers = key('workers')
local last = tonumber(redis.call('HGET', meta, 'recovered') or '0')
redis.call('HSET', meta, 'recovered', int(now))
if now - last > lease / 2 or now < last then
  for _, worker in ipairs(redis.call('ZRANGE', workers, 0, -1)) do
    redis.call('ZADD', workers, int(now + lease), worker)
  end
  return {0, 0}
end

local touched, taken = {}, 0

local function give_up(job, index, token)
  end_sample(job, index, '-', token, '0',
    'Given up: ' .. CRASHES .. ' workers in turn fell silent before they had drawn its next row.')
end

local function take_back(worker, id, index, token)
  local job = find(id)
  take_from(worker, id, index)
  taken = taken + 1
  if not job then return end
  local crashes = crashes_of(job, index) + 1
  if crashes >= CRASHES and job.state ~= 'CANCELLING' then give_up(job, index, token)
  else return_sample(job, index, '', crashes) end
  touched[id] = true
end

local more = 0
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', int(now))) do
  local held = redis.call('HGETALL', key('held', worker))
  local room = budget - taken
  for position = 1, math.min(#held, 2 * room), 2 do
    local id, index = string.match(held[position], '^(.+):(%d+)$')
    take_back(worker, id, index, held[position + 1])
  end
  if #held <= 2 * room then redis.call('ZREM', workers, worker) end
  if taken >= budget then
    more = 1
    break
  end
end
conclude()
if taken > 0 then ring_bell() end
for id in pairs(touched) do announce(id) end
return {taken, more}
