-- claim.lua: hand samples to a worker, each with a fencing token larger than any before.
-- Interactive samples come first, up to a limit. Then the classes share what is left by their weights. In a class clients
-- share by theirs (shared.lua), jobs of a client take turns, and in a job samples that are drawn in part come first. A job
-- stays with the fingerprint that began it while a worker of that fingerprint lives. A suspect is a sample with which a
-- worker fell silent and that has no new row since; a worker holds one at most. While the pool is paused, or the worker is
-- to stop, it gets nothing.
-- KEYS  1 meta
-- ARGV  1 worker   2 lease, ms   3 sequence number   4 fingerprint   5 most samples
--       6 most interactive samples that come first; may be more than ARGV 5   7 the worker's slots, '' if unknown
--       8… digests of its models
-- A reply has room for about a megabyte of rows and kept pixels, so it may have fewer samples than there are.
-- Returns {jobs, samples}: jobs {id, request, kept pixels, age in ms at the claim, request id of its RPC, traceparent},
-- samples {job id, index, token, rows so far, 1 for a suspect, its own kept pixels, '' if it has none}. A call that
-- repeats the worker's last sequence number returns the same samples,
-- as far as the worker still holds them. A call with an earlier number returns nothing.

local worker, lease, sequence = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local fingerprint, limit, first_interactive = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local me, held = key('worker', worker), key('held', worker)
local SCANNED = 256  -- jobs and clients without a sample for this worker that one claim passes over
local LAG = 1000000  -- pixels that a client may be behind the one that was served last, for example without a worker
local ORDER = {'interactive', 'standard', 'batch'}  -- of classes at the same time

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
if redis.call('HEXISTS', meta, 'paused') == 1 or redis.call('HEXISTS', me, 'draining') == 1 then
  limit, first_interactive = 0, 0
end
if sequence == last then return reply_with(remembered(), tonumber(redis.call('HGET', me, 'claimed'))) end

-- The digests of all workers with a lease, by their fingerprint.
local function read_living()
  local living = {}
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), int(now), '+inf')) do
    local theirs = redis.call('HMGET', key('worker', other), 'fingerprint', 'digests')
    local word = theirs[1] or ''
    living[word] = living[word] or {}
    living[word][theirs[2] or ''] = true
  end
  return living
end

local living = nil
local function has_live_worker(wanted, digest)
  living = living or read_living()
  for theirs in pairs(living[wanted] or {}) do
    if string.find(theirs, digest, 1, true) then return true end
  end
  return false
end

local alive = {}  -- fingerprint and digest → whether such a worker is alive
local function may_draw(job)
  local began = job.fingerprint
  if began == '' or began == fingerprint then return true end
  local pair = began .. '\n' .. job.digest
  if alive[pair] == nil then alive[pair] = has_live_worker(began, job.digest) end
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
local scanned = 0  -- jobs and clients that were passed over

-- Whether a ready job has a sample for this worker. It has none if only suspects are left and the worker has one.
local function has_sample(job)
  return may_suspect or job.next < job.count or redis.call('EXISTS', key('returned', job.id)) == 1
end

-- A claimable job that this worker may draw, or nil. One that is gone or damaged is taken from the ready set.
local function drawable(id, ready)
  if emptied[id] then return nil end
  local job = find(id)
  if job and job.state == 'PAUSED' then job = nil end  -- an interrupted script may leave it in the ready set
  if not job then redis.call('ZREM', ready, id) end
  if job and may_draw(job) and has_sample(job) then return job end
  scanned = scanned + 1
end

local busy = {}  -- class → digests of this worker's models that have claimable samples in the class
for class in pairs(CLASSES) do
  busy[class] = {}
  for _, digest in ipairs(digests) do
    if redis.call('EXISTS', turns_key(digest, class)) == 1 then table.insert(busy[class], digest) end
  end
end

-- Up to `most` jobs of a client that this worker may draw; the one that has waited longest for its turn comes first.
local function jobs_in_turn(class, client, most)
  local found = {}
  for _, digest in ipairs(busy[class]) do
    local mine, first, page, ready = 0, 0, most, ready_key(digest, class, client)
    while mine < most and scanned < SCANNED do
      local heads = redis.call('ZRANGE', ready, first, first + page - 1, 'WITHSCORES')
      for position = 1, #heads, 2 do
        local job = mine < most and drawable(heads[position], ready)
        if job then
          mine = mine + 1
          found[#found + 1] = {job = job, turn = tonumber(heads[position + 1]), ready = ready}
        end
      end
      if #heads < 2 * page then break end
      first, page = first + page, 32
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

local bytes = 0  -- of rows and kept pixels in this reply, at most

-- The most bytes that a sample's own kept pixels take in the reply: a bit for each pixel, and the pixels.
local function most_kept(job)
  return job.kept_bytes > 0 and math.ceil(job.sample_pixels / 8) + job.rows * job.row_bytes or 0
end

-- How many samples of so many bytes the reply has room for.
local function fitting(size)
  return size > 0 and math.max(0, math.ceil((MOST_BYTES + 1 - bytes) / size)) or math.huge
end

-- Take samples of a job that were begun before, up to `most`, as far as the reply has room for their rows; returns how many.
local function take_begun(job, most)
  local picture = job.rows * job.row_bytes + most_kept(job)
  local room = math.min(most, fitting(picture))
  local number = take_again(job, 'returned', room)
  if number < room then number = number + take_suspect(job) end
  bytes = bytes + number * picture
  return number
end

-- Take up to `share` samples of a job; returns how many, and their pixels.
local function take(head, share)
  local job, first = head.job, #taken
  if bytes > MOST_BYTES then return 0, 0 end
  local number = take_begun(job, share)
  local pixels = 0
  for position = first + 1, first + number do pixels = pixels + undrawn_pixels(job, taken[position][2]) end
  local fresh = bytes > MOST_BYTES and 0 or math.min(share - number, job.count - job.next, fitting(most_kept(job)))
  bytes = bytes + fresh * most_kept(job)
  for index = job.next, job.next + fresh - 1 do assign(job, int(index), false) end
  add(job, 'next', fresh)
  number = number + fresh
  if number == 0 then return 0, 0 end
  if not touched[job.id] then bytes = bytes + redis.call('HSTRLEN', job.key, 'kept') end
  charge(job, 'ready', -number)
  charge(job, 'running', number)
  if job.state == 'QUEUED' then begin(job) end
  if has_more(job) then
    redis.call('ZADD', head.ready, int(redis.call('HINCRBY', meta, 'turn', '1')), job.id)
  else
    emptied[job.id] = job
    later('ZREM', head.ready, job.id)
  end
  touched[job.id] = true
  return number, pixels + fresh * job.sample_pixels
end

local passed, first_rank = {}, {}  -- class and client → has nothing for this worker; registry → rank of the first other one

-- The first two clients of a model, with their times. The second may be one that was passed over.
local function first_clients(digest, class)
  local turns = turns_key(digest, class)
  while true do
    local rank = first_rank[turns] or 0
    local heads = redis.call('ZRANGE', turns, rank, rank + 1, 'WITHSCORES')
    if not heads[1] or not passed[class .. ' ' .. heads[1]] then return heads end
    first_rank[turns] = rank + 1
  end
end

-- The client that comes next in a class, its time, and the time of the one after it; nil if none has anything.
local function next_client(class)
  local first, time, second = nil, math.huge, math.huge
  for _, digest in ipairs(busy[class]) do
    local heads = first_clients(digest, class)
    for position = 1, #heads, 2 do
      local client, theirs = heads[position], tonumber(heads[position + 1])
      if theirs < time then first, time, second = client, theirs, time
      elseif client ~= first then second = math.min(second, theirs) end
    end
  end
  return first, time, second
end

-- Hand out samples of a client until this claim has `total`, or until the samples have more than `budget` pixels. A client
-- with a budget gets samples of one job. Returns how many samples, and their pixels.
local function serve(class, client, total, budget)
  local heads = jobs_in_turn(class, client, budget == math.huge and total - #taken or 1)
  local number, pixels = 0, 0
  for position, head in ipairs(heads) do
    local share = math.ceil((total - #taken) / (#heads - position + 1))
    local most = math.floor(math.max(0, budget) / head.job.sample_pixels) + 1
    local more, theirs = take(head, math.min(share, most))
    number, pixels = number + more, pixels + theirs
  end
  return number, pixels
end

local function pass_over(class, client)
  passed[class .. ' ' .. client] = true
  scanned = scanned + 1
  for _, digest in ipairs(busy[class]) do unlist_client(digest, class, client) end
end

-- Classes share each worker: the time of a class is the number of pixels that this worker took of it, divided by the class'
-- weight, and the class with the least time comes next.
local times, class_clock, finished = {}, tonumber(redis.call('HGET', me, 'clock') or '0'), {}
for class in pairs(CLASSES) do
  times[class] = math.max(class_clock, tonumber(redis.call('HGET', me, 'time ' .. class) or '0'))
end

-- Hand out samples of a class, client after client, until this claim has `total`, or the samples more than `budget` pixels.
-- Returns the pixels of the last one, or about as many.
local function hand_out(class, total, budget)
  local size = 0
  while #taken < total and budget >= 0 and bytes <= MOST_BYTES do
    local client, time, second = next_client(class)
    if not client or scanned >= SCANNED then
      finished[class] = true
      break
    end
    local weight, start = weight_of(client), math.max(time, clock_of(class) - LAG)
    local number, pixels = serve(class, client, total, math.min(budget, (second - start) * weight))
    if number > 0 then
      local last = start + (pixels - pixels / number) / weight  -- when the last of these samples began
      redis.call('HSET', meta, 'clock ' .. class, exact(math.max(last, clock_of(class))))
      advance(class, client, pixels + (start - time) * weight)
      times[class], budget, size = times[class] + pixels / CLASSES[class], budget - pixels, pixels / number
    else pass_over(class, client) end
  end
  return size
end

-- The class that comes next, and the pixels that it may take before another one comes; nil if none has anything.
local function next_class()
  local first, second = nil, math.huge
  for _, class in ipairs(ORDER) do
    if not finished[class] and not first then first = class
    elseif not finished[class] and times[class] < times[first] then first, second = class, times[first]
    elseif not finished[class] then second = math.min(second, times[class]) end
  end
  return first, first and (second - times[first]) * CLASSES[first]
end

local function share_out()
  while #taken < limit and bytes <= MOST_BYTES do
    local class, budget = next_class()
    if not class then return end
    local before = #taken
    local size = hand_out(class, limit, budget)
    if #taken > before then class_clock = math.max(class_clock, times[class] - size / CLASSES[class]) end
  end
end

for class, claimable in pairs(busy) do finished[class] = #claimable == 0 or nil end
hand_out('interactive', first_interactive, math.huge)
share_out()

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
redis.call('HSET', me, 'sequence', int(sequence), 'claimed', int(now), 'reply', table.concat(lines, '\n'),
  'clock', exact(class_clock))
for class, time in pairs(times) do redis.call('HSET', me, 'time ' .. class, exact(time)) end
conclude()
for _, job in pairs(emptied) do unlist_client(job.digest, job.class, job.client) end
note_those_that_left()
for id in pairs(touched) do announce(id) end
return reply_with(taken, now)
