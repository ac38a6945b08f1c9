-- recover.lua: take samples back from workers whose lease has run out; fail samples that crash their workers.
-- Workers report a place (see commit.lua). It says how many committed rows of a sample were drawn again, or that a
-- suspect's next row begins, alone. So no crash is counted for a sample while its rows are drawn again or while it waits
-- for others, and a suspect is charged only for rows that it drew alone.
-- If nobody recovered for half a lease, that was an outage: Redis or everybody was away. Then every worker first gets a
-- fresh lease, except a worker that was not heard since the outage before: for it, the outage counts as a quarter of a
-- lease. So a dead worker loses its samples even if every recovery comes late, and a live worker survives two outages in
-- a row.
-- KEYS  1 meta
-- ARGV  1 lease, ms   2 most samples to take back, and workers to look at, in this call
-- Returns {samples taken back, 1 if there are more, else 0}.

allow_beyond_memory_limit()
local lease, budget = tonumber(ARGV[1]), tonumber(ARGV[2])
local workers = key('workers')
local times = redis.call('HMGET', meta, 'recovered', 'outage')  -- the last recovery, the end of the last outage
local gap = now - tonumber(times[1] or '0')
redis.call('HSET', meta, 'recovered', int(now))

local function lease_after_outage(ends)
  local was_heard = ends > tonumber(times[2] or '0') + lease
  if was_heard or gap < 0 then return now + lease end
  return math.min(now + lease, ends + gap - lease / 4)
end

if gap > lease / 2 or gap < 0 then
  redis.call('HSET', meta, 'outage', int(now))
  local leases = redis.call('ZRANGE', workers, 0, -1, 'WITHSCORES')
  for position = 1, #leases, 2 do
    later('ZADD', workers, int(lease_after_outage(tonumber(leases[position + 1]))), leases[position])
  end
  write_collected({'ZADD'})
end

local touched, taken = {}, 0

local function give_up(job, index, token)
  end_sample(job, index, '-', token, '0',
    'Given up: ' .. CRASHES .. ' workers in a row fell silent before they drew its next row.')
end

-- The number of crashes of a sample after its worker fell silent. A row committed since the claim resets it to 0. The
-- number stays the same if the worker fell silent between two rows of a suspect, or while it drew rows again; but if the
-- worker before also fell silent at that row, it is a crash.
local function crashes_after_silence(job, index)
  local f = redis.call('HMGET', sample_key(job.id, index), 'claimed_rows', 'crashes', 'reported', 'crash_row')
  local again, crashes, place = tonumber(f[1] or '0'), tonumber(f[2] or '0'), tonumber(f[3] or '0')
  if rows_of(job, index) > again then return 0 end
  if place == 0 then return crashes + 1 end
  local row, begun = math.floor((place - 1) / 2), place % 2 == 0
  if crashes > 0 and not begun then return crashes end
  redis.call('HSET', sample_key(job.id, index), 'crash_row', int(row))
  local was_alive = row < again - (begun and 0 or LATE) and row ~= tonumber(f[4] or '-1')
  return was_alive and crashes or crashes + 1
end

local function take_back(worker, id, index, token)
  local job = find(id)
  take_from(worker, id, index)
  taken = taken + 1
  if not job then return end
  local crashes = crashes_after_silence(job, index)
  if crashes >= CRASHES and job.state ~= 'CANCELLING' then give_up(job, index, token)
  else return_sample(job, index, '', crashes) end
  touched[id] = true
end

-- Take back samples of a worker, as many as this call has room for. It is forgotten with its last one.
local function take_all_back(worker, room)
  local held = key('held', worker)
  local samples = redis.call('ZRANGE', held, 0, room - 1, 'WITHSCORES')
  for position = 1, #samples, 2 do
    local id, index = string.match(samples[position], '^(.+):(%d+)$')
    take_back(worker, id, index, int(tonumber(samples[position + 1])))
  end
  if redis.call('ZCARD', held) <= #samples / 2 then redis.call('ZREM', workers, worker) end
end

local looked = 0
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', int(now), 'LIMIT', '0', int(budget))) do
  if looked + taken < budget then take_all_back(worker, budget - looked - taken) end
  looked = looked + 1
end
local more = looked + taken >= budget and 1 or 0
conclude()
if taken > 0 then ring_bell() end
for id in pairs(touched) do announce(id) end
return {taken, more}
