-- recover.lua: take samples back from workers whose lease has run out; give up those that crash their workers.
-- A worker tells how far a sample is whose committed rows it draws again, and of a suspect also that it begins a row,
-- which it then draws with nothing beside it (see commit.lua). So an innocent sample is not charged with a crash while
-- it is drawn again or waits beside others, and a suspect only for what it did alone.
-- If nobody recovered for half a lease, Redis or everybody was away: every worker gets a fresh lease first, unless it has
-- not been heard since the last such silence. For that one a silence counts as a quarter of a lease: a dead worker loses
-- its samples also where every call comes late, and a live one may meet a second outage before it is heard again.
-- KEYS  1 meta
-- ARGV  1 lease, ms   2 most samples in this call
-- Returns {samples taken back, 1 if there are more}.

allow_beyond_memory_limit()
local lease, budget = tonumber(ARGV[1]), tonumber(ARGV[2])
local workers = key('workers')
local times = redis.call('HMGET', meta, 'recovered', 'silence')  -- the last recovery, the end of the last silence
local silent = now - tonumber(times[1] or '0')
redis.call('HSET', meta, 'recovered', int(now))

local function lease_after_silence(ends)
  local was_heard = ends > tonumber(times[2] or '0') + lease
  if was_heard or silent < 0 then return now + lease end
  return math.min(now + lease, ends + silent - lease / 4)
end

if silent > lease / 2 or silent < 0 then
  redis.call('HSET', meta, 'silence', int(now))
  local leases = redis.call('ZRANGE', workers, 0, -1, 'WITHSCORES')
  for position = 1, #leases, 2 do
    redis.call('ZADD', workers, int(lease_after_silence(tonumber(leases[position + 1]))), leases[position])
  end
end

local touched, taken = {}, 0

local function give_up(job, index, token)
  end_sample(job, index, '-', token, '0',
    'Given up: ' .. CRASHES .. ' workers in turn fell silent before they had drawn its next row.')
end

-- Crashes of a sample after its worker fell silent with it. No charge: a row committed since the claim; a suspect
-- between two of its rows; rows drawn again, unless the last worker fell silent at the very same row.
local function charged(job, index)
  local f = redis.call('HMGET', sample_key(job.id, index), 'claimed_rows', 'crashes', 'told', 'fell_at')
  local again, crashes, told = tonumber(f[1] or '0'), tonumber(f[2] or '0'), tonumber(f[3] or '0')
  if rows_of(job, index) > again then return 0 end
  if told == 0 then return crashes + 1 end
  local row, begun = math.floor((told - 1) / 2), told % 2 == 0
  if crashes > 0 and not begun then return crashes end
  redis.call('HSET', sample_key(job.id, index), 'fell_at', int(row))
  local was_alive = row < again - (begun and 0 or LATE) and row ~= tonumber(f[4] or '-1')
  return was_alive and crashes or crashes + 1
end

local function take_back(worker, id, index, token)
  local job = find(id)
  take_from(worker, id, index)
  taken = taken + 1
  if not job then return end
  local crashes = charged(job, index)
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
