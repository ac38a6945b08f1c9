-- audit_samples.lua: check in which place samples of a job are, and repair what no other script would have left.
-- A sample that is in several places stays in the first of these: it has a result, a worker with a lease holds it, it
-- waits, it is fresh. One that no worker holds, or that is in no place, is given back with its rows.
-- KEYS  1 meta
-- ARGV  1 job id   2… for each sample: its index, and the workers that seem to hold it, one a line
-- Returns a word for each repair; auditing.py explains them. Totals may be wrong after a repair, so recount.

local job, repairs = find(ARGV[1]), {}
local ended = job and ENDED[job.state] and job.done + job.failed + job.cancelled >= job.count

local function repaired(word)
  repairs[#repairs + 1] = word
end

local function let_go(worker, member)
  redis.call('ZREM', key('leaving'), member)
  return redis.call('ZREM', key('held', worker), member)
end

-- The worker that has a lease and the newest token of the sample. All others let go of it.
local function owner_among(workers, member)
  local owner, newest
  for _, worker in ipairs(workers) do
    local token = tonumber(redis.call('ZSCORE', key('held', worker), member) or '')
    local is_owner = token and redis.call('ZSCORE', key('workers'), worker) and token > (newest or 0)
    local loser = is_owner and owner or not is_owner and token and worker
    if is_owner then owner, newest = worker, token end
    if loser and let_go(loser, member) > 0 then repaired('owners') end
  end
  return owner
end

local function lines_of(text)
  local lines = {}
  for line in string.gmatch(text, '[^\n]+') do lines[#lines + 1] = line end
  return lines
end

-- What Redis says of a sample.
local function find_sample(index, known)
  local is_running = redis.call('SISMEMBER', key('running', job.id), index) == 1
  local member = job.id .. ':' .. index
  local owner = owner_among(lines_of(known), member)
  if is_running and not owner then owner = owner_among(redis.call('ZRANGE', key('workers'), 0, -1), member) end
  return {
    index = index, owner = owner, running = is_running,
    result = redis.call('HEXISTS', result_key(job.id, index), index) == 1,
    returned = redis.call('ZSCORE', key('returned', job.id), index),
    suspects = redis.call('ZSCORE', key('suspects', job.id), index),
    fresh = tonumber(index) >= job.next,
  }
end

-- The place where a sample stays, or where it was lost.
local function place_of(sample)
  if sample.result or ended then return 'result' end
  if sample.owner then return 'running' end
  if job.state == 'CANCELLING' then return 'cancelled' end
  if sample.returned then return 'returned' end
  if sample.suspects then return 'suspects' end
  if sample.fresh then return 'fresh' end
  return sample.running and 'unowned' or 'lost'
end

local function leave_other_places(sample, place)
  local left = 0
  if sample.running and place ~= 'running' then
    redis.call('SREM', key('running', job.id), sample.index)
    left = place == 'unowned' and 0 or 1
  end
  for _, set in ipairs({'returned', 'suspects'}) do
    if sample[set] and place ~= set then left = left + redis.call('ZREM', key(set, job.id), sample.index) end
  end
  local member = job.id .. ':' .. sample.index
  if sample.owner and place ~= 'running' then left = left + let_go(sample.owner, member) end
  if not sample.owner then left = left + redis.call('ZREM', key('leaving'), member) end
  if left > 0 then repaired('places') end
end

-- Pixels that are no whole rows, or more rows than an image has, are cut off.
local function cut_pixels(index)
  local name = pixels_key(job.id, index)
  local length = redis.call('STRLEN', name)
  local whole = math.min(math.floor(length / job.row_bytes), job.rows) * job.row_bytes
  if whole == length then return end
  if whole == 0 then redis.call('DEL', name) else redis.call('SET', name, redis.call('GETRANGE', name, 0, whole - 1)) end
  repaired('pixels')
end

local function put_right(sample, place)
  if place == 'running' and not sample.running then
    redis.call('SADD', key('running', job.id), sample.index)
    repaired('places')
  elseif place == 'unowned' or place == 'lost' then
    give_back(job, sample.index, '', crashes_of(job, sample.index))
    repaired(place)
  elseif place ~= 'running' and place ~= 'returned' and place ~= 'suspects' and not has_chores(job.id) then
    local keys = redis.call('DEL', sample_key(job.id, sample.index), pixels_key(job.id, sample.index))
    if keys > 0 then repaired('leftovers') end
  end
end

local function check(index, known)
  local sample = find_sample(index, known)
  local place = place_of(sample)
  leave_other_places(sample, place)
  if place ~= 'fresh' and sample.fresh then
    add(job, 'next', tonumber(index) + 1 - job.next)
    repaired('counts')
  end
  if place ~= 'result' then cut_pixels(index) end
  put_right(sample, place)
end

-- A job that is gone or damaged has no samples: who holds one lets go of it.
local function let_all_go(index, known)
  local member = ARGV[1] .. ':' .. index
  if redis.call('ZREM', key('leaving'), member) > 0 and known == '' then repaired('places') end
  for _, worker in ipairs(lines_of(known)) do
    if let_go(worker, member) > 0 then repaired('owners') end
  end
end

allow_beyond_memory_limit()
for place = 2, #ARGV, 2 do
  if job then check(ARGV[place], ARGV[place + 1]) else let_all_go(ARGV[place], ARGV[place + 1]) end
end
write_sums()  -- audit_jobs.lua ends jobs, after it has checked their counts
if #repairs > 0 then
  ring_bell()
  announce(ARGV[1])
end
return repairs
