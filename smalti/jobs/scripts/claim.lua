-- claim.lua: hand samples to a worker, each with a fencing token larger than any before.
-- Interactive samples come first, up to a limit, then standard ones, then further interactive ones. In a class jobs take
-- turns; in a job, samples that are drawn in part come first. A job stays with the fingerprint that began it while a
-- worker of that fingerprint lives. A suspect is a sample with which a worker fell silent and that has no new row since;
-- a worker holds one at most.
-- KEYS  1 meta
-- ARGV  1 worker   2 lease, ms   3 sequence number   4 fingerprint   5 most samples
--       6 most interactive samples that come first; may be more than ARGV 5   7 the worker's slots, '' if unknown
--       8… digests of its models
-- Returns {jobs, samples}: jobs {id, request, kept pixels, age in ms at the claim, request id of its RPC, traceparent},
-- samples {job id, index, token, rows so far, 1 for a suspect, its own kept pixels, '' if it has none}. A call that
-- repeats the worker's last sequence number returns the same samples,
-- as far as the worker still holds them. A call with an earlier number returns nothing.

local worker, lease, sequence = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local fingerprint, limit, first_interactive = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local me, held = key('worker', worker), key('held', worker)
local SCANNED = 256  -- jobs of other fingerprints skipped in one claim

local function has_own_kept(id)
  local job = find(id)
  return job and job.kept_bytes > 0
end

local function reply_with(taken, claimed)
  local jobs, samples, listed = {}, {}, {}
  for _, sample in ipairs(taken) do
    local id, index, token, is_fresh = unpack(sample)
    if not listed[id] then
      local f = redis.call('HMGET', key('job', id), 'request', 'kept', 'created', 'rpc_id', 'traceparent')
      jobs[#jobs + 1] = {
        id, f[1], f[2], int(math.max(0, claimed - (tonumber(f[3] or '') or claimed))), f[4] or '', f[5] or '',
      }
      listed[id] = true
    end
    samples[#samples + 1] = {
      id, index, token, not is_fresh and redis.call('GET', pixels_key(id, index)) or '',
      not is_fresh and tonumber(redis.call('HGET', sample_key(id, index), 'crashes') or '0') > 0 and '1' or '0',
      has_own_kept(id) and redis.call('HGET', kept_key(id, index), index) or '',
    }
  end
  return {jobs, samples}
end

-- The samples of the last claim that the worker still holds.
local function remembered()
  local taken = {}
  for line in string.gmatch(redis.call('HGET', me, 'reply') or '', '[^\n]+') do
    local id, index, token = string.match(line, '^(%S+) (%S+) (%S+)$')
    local mine = redis.call('ZSCORE', held, id .. ':' .. index)
    if mine and tonumber(mine) == tonumber(token) then taken[#taken + 1] = {id, index, token, false} end
  end
  return taken
end

local last = tonumber(redis.call('HGET', me, 'sequence') or '-1')
if sequence < last then return {{}, {}} end

local digests = {}
for position = 8, #ARGV do digests[#digests + 1] = ARGV[position] end
redis.call('ZADD', key('workers'), int(now + lease), worker)
redis.call('HSET', me, 'fingerprint', fingerprint, 'digests', table.concat(digests, ' '), 'slots', ARGV[7])
keep_worker(worker, lease)
if sequence == last then return reply_with(remembered(), tonumber(redis.call('HGET', me, 'claimed'))) end

local function has_live_worker(wanted, digest)
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), int(now), '+inf')) do
    local theirs = redis.call('HMGET', key('worker', other), 'fingerprint', 'digests')
    if theirs[1] == wanted and string.find(theirs[2] or '', digest, 1, true) then return true end
  end
  return false
end

local alive = {}  -- fingerprint and digest → whether such a worker is alive
local function may_draw(id, digest)
  local began = fields_of_job(key('job', id), 'fingerprint')[1]
  if not began or began == '' or began == fingerprint then return true end
  local pair = began .. '\n' .. digest
  if alive[pair] == nil then alive[pair] = has_live_worker(began, digest) end
  return not alive[pair]
end

-- Whether the worker holds a suspect that has no new row yet.
local function has_suspect()
  local suspect = redis.call('HGET', me, 'suspect')
  if not suspect or not redis.call('ZSCORE', held, suspect) then return false end
  local id, index = string.match(suspect, '^(.+):(%d+)$')
  local job, before = find(id), redis.call('HGET', sample_key(id, index), 'claimed_rows')
  return job ~= nil and rows_of(job, index) <= tonumber(before or '0')
end
local may_suspect = not has_suspect()

local emptied = {}  -- job → true if this claim took its last sample; it stays in the ready set until the end

-- Whether a ready job has a sample for this worker. It has none if only suspects are left and the worker has one.
local function has_sample(id)
  if emptied[id] then return false end
  if may_suspect or redis.call('EXISTS', key('returned', id)) == 1 then return true end
  local job = find(id)
  return not job or job.next < job.count  -- one that is gone or damaged is taken from the ready set
end

-- Up to `most` jobs of a class that this worker may draw; the one that has waited longest for its turn comes first.
local function jobs_in_turn(class, most)
  local found = {}
  for _, digest in ipairs(digests) do
    local mine, first, page, ready = 0, 0, math.max(most, 32), ready_key(digest, class)
    while mine < most and first < math.max(SCANNED, most) do
      local heads = redis.call('ZRANGE', ready, first, first + page - 1, 'WITHSCORES')
      for position = 1, #heads, 2 do
        if mine < most and may_draw(heads[position], digest) and has_sample(heads[position]) then
          mine = mine + 1
          found[#found + 1] = {id = heads[position], turn = tonumber(heads[position + 1]), ready = ready}
        end
      end
      if #heads < 2 * page then break end
      first = first + page
    end
  end
  table.sort(found, function(a, b) return a.turn < b.turn end)
  while #found > most do table.remove(found) end
  return found
end

local token = tonumber(redis.call('HGET', meta, 'token') or '0')
local taken, touched = {}, {}

-- The fingerprints that draw a sample: if a worker with another fingerprint began it, the result names both.
local function drawn_by(sample, rows)
  local before = redis.call('HGET', sample, 'fingerprint')
  if not before or before == fingerprint or rows == 0 then return fingerprint end
  if string.find('+' .. before .. '+', '+' .. fingerprint .. '+', 1, true) then return before end
  return before .. '+' .. fingerprint
end

local function assign(job, index, begun)
  local sample = sample_key(job.id, index)
  token = math.max(token + 1, now_us)
  if begun then
    local rows = rows_of(job, index)
    redis.call('HSET', sample, 'fingerprint', drawn_by(sample, rows), 'claimed_rows', int(rows), 'reported', '0')
  else
    redis.call('HSET', sample, 'fingerprint', fingerprint)
  end
  local text = int(token)
  later('SADD', key('running', job.id), index)
  later('ZADD', held, text, job.id .. ':' .. index)
  taken[#taken + 1] = {job.id, index, text, not begun}
end

local function begin(job)
  job.state = 'RUNNING'
  redis.call('HSET', job.key, 'state', 'RUNNING', 'started', int(now), 'fingerprint', fingerprint)
  redis.call('ZREM', key('queued'), job.id)
end

local again = {}  -- set → number of samples taken; they stay in the set until the end, so skip them

-- Take the first samples of a set, up to `most`; returns how many.
local function take_again(job, set, most)
  local name = key(set, job.id)
  local first = again[name] or 0
  local indices = redis.call('ZREVRANGE', name, first, first + most - 1)
  for _, index in ipairs(indices) do
    assign(job, index, true)
    later('ZREM', name, index)
  end
  again[name] = first + #indices
  return #indices
end

-- Take a suspect of the job if this worker may have one; returns how many.
local function take_suspect(job)
  if not may_suspect or take_again(job, 'suspects', 1) == 0 then return 0 end
  may_suspect = false
  redis.call('HSET', me, 'suspect', taken[#taken][1] .. ':' .. taken[#taken][2])
  return 1
end

local function has_more(job)
  if job.next < job.count then return true end
  for _, set in ipairs({'returned', 'suspects'}) do
    local name = key(set, job.id)
    if redis.call('ZCARD', name) > (again[name] or 0) then return true end
  end
  return false
end

-- Take up to `share` samples of a job; returns how many.
local function take(head, share)
  local job = find(head.id)
  if not job then
    redis.call('ZREM', head.ready, head.id)
    return 0
  end
  local number = take_again(job, 'returned', share)
  if number < share then number = number + take_suspect(job) end
  local fresh = math.min(share - number, job.count - job.next)
  for index = job.next, job.next + fresh - 1 do assign(job, int(index), false) end
  add(job, 'next', fresh)
  number = number + fresh
  if number == 0 then return 0 end
  charge(job, 'ready', -number)
  charge(job, 'running', number)
  if job.state == 'QUEUED' then begin(job) end
  if has_more(job) then
    redis.call('ZADD', head.ready, int(redis.call('HINCRBY', meta, 'turn', '1')), job.id)
  else
    emptied[job.id] = true
    later('ZREM', head.ready, job.id)
  end
  touched[job.id] = true
  return number
end

-- Hand out samples of a class until this claim has `total`.
local function hand_out(class, total)
  while #taken < total do
    local before, heads = #taken, jobs_in_turn(class, total - #taken)
    for position, head in ipairs(heads) do
      if #taken < total then take(head, math.ceil((total - #taken) / (#heads - position + 1))) end
    end
    if #taken == before then break end
  end
end

hand_out('interactive', first_interactive)
hand_out('standard', limit)
hand_out('interactive', limit)

-- A worker may hold more samples than it has slots: it claims new ones while the last rows of others are on their way to
-- Redis. The samples that it claimed first have left their slots.
local function note_those_that_left()
  local slots, all = tonumber(ARGV[7]), redis.call('ZCARD', held)
  if not slots or all <= slots then return end
  for _, member in ipairs(redis.call('ZRANGE', held, math.max(0, all - #taken - slots), all - slots - 1)) do
    later('ZADD', key('leaving'), '0', member)
  end
  write_collected({'ZADD'})
end

local lines = {}
for _, sample in ipairs(taken) do lines[#lines + 1] = table.concat(sample, ' ', 1, 3) end
-- This order loses no sample if Redis refuses a command half way, for example because rights were changed.
redis.call('HSET', meta, 'token', int(token))
redis.call('HSET', me, 'sequence', int(sequence), 'claimed', int(now), 'reply', table.concat(lines, '\n'))
conclude()
note_those_that_left()
for id in pairs(touched) do announce(id) end
return reply_with(taken, now)
