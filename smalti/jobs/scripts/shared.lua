-- shared.lua: functions that several scripts use. script.py puts this file in front of each of them.
-- KEYS  1 smalti:{pool}:meta   (every other key has the same prefix; keys.py has the table)
-- Times are milliseconds by Redis' clock. Use int() to turn numbers into text: Lua's own conversion rounds large ones.

local meta = KEYS[1]
local prefix = string.sub(meta, 1, -5)
local CHUNK = 1024  -- results in one hash; keys.py has the same number
local KEPT_CHUNK = 8192  -- samples whose own kept pixels are in one hash; likewise
local CRASHES = 3  -- workers in a row that fell silent with a sample, without progress, before it fails
local DEAD = 10000  -- samples that failed are remembered; about as many
local LATE = 4  -- rows that a worker may have drawn since it last reported a place
local CHUNKS_OF_DAMAGED = 977  -- of a job whose count is not known; as many as a job of a million samples has
local TTL_MARGIN = 60000  -- keys live longer than the retention; `expire` normally deletes them earlier
local WORKER_TTL = 600000  -- at least; keeps the last claim of a worker that fell silent
local SHARE_TTL = 3600000  -- how long the time of a client that has nothing to claim is remembered
local MOST_BYTES = 1048576  -- of pictures in one call; the picture with which they are exceeded is still in it

local clock = redis.call('TIME')
local now_us = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local now = math.floor(now_us / 1000)

local function int(number)
  return string.format('%.0f', number == 0 and 0 or number)  -- Lua's −0 would become '-0'
end

local function key(...)
  return prefix .. table.concat({...}, ':')
end

local function sample_key(id, index)
  return prefix .. 'sample:' .. id .. ':' .. index
end

local function pixels_key(id, index)
  return prefix .. 'pixels:' .. id .. ':' .. index
end

local function ready_key(digest, class, client)
  return key('ready', digest, class, client)
end

local function turns_key(digest, class)
  return key('turns', digest, class)
end

local function share_key(class, client)
  return key('share', class, client)
end

local function result_key(id, index)
  return key('result', id, int(math.floor(tonumber(index) / CHUNK)))
end

-- The chunk with the kept pixels of a sample, in a job in which each sample has its own.
local function kept_key(id, index)
  return key('kept', id, int(math.floor(tonumber(index) / KEPT_CHUNK)))
end

-- All these chunks of a job.
local function kept_keys(id, count)
  local names = {}
  for chunk = 0, math.floor((count - 1) / KEPT_CHUNK) do names[#names + 1] = key('kept', id, int(chunk)) end
  return names
end

-- At its memory limit Redis refuses a script's first write, but no later one. Scripts that finish or free something
-- begin with a write that needs no memory, so that Redis refuses only `submit` and `claim`.
local function allow_beyond_memory_limit()
  redis.call('DEL', key('none'))
end

local function keep_worker(worker, lease)
  redis.call('PEXPIRE', key('worker', worker), int(math.max(WORKER_TTL, 10 * lease)))
end

local function announce(id)
  redis.call('XADD', key('events'), 'MAXLEN', '~', '1000', '*', 'job', id)
end

local interactive = false  -- whether this script made interactive samples claimable

local function ring_bell()
  redis.call('XADD', key('bell'), 'MAXLEN', '1', '*', 'work', '1')
  if interactive then redis.call('XADD', key('interactive'), 'MAXLEN', '1', '*', 'work', '1') end
end

local found = {}  -- jobs that this script looked at

-- A key of another type in a job's place is not smalti's: it counts as no job, and the script goes on.
local function fields_of_job(name, ...)
  local fields = redis.pcall('HMGET', name, ...)
  if not fields.err then return fields end
  return string.find(fields.err, 'WRONGTYPE', 1, true) and {} or redis.call('HMGET', name, ...)
end

local WORDS = {'state', 'reason', 'class', 'client', 'digest', 'fingerprint', 'request_key'}
local NUMBERS = {
  'count', 'next', 'done', 'failed', 'cancelled', 'rows', 'row_bytes', 'sample_pixels', 'job_bytes', 'sample_bytes',
  'kept_bytes', 'retention', 'created', 'deadline', 'serial',
}
local FIELDS = {}
for _, names in ipairs({WORDS, NUMBERS}) do
  for _, name in ipairs(names) do FIELDS[#FIELDS + 1] = name end
end
local GOES_ON = {QUEUED = 1, RUNNING = 1, PAUSED = 1}  -- states of a job that was not stopped and has not ended
local STATES = {QUEUED = 1, RUNNING = 1, PAUSED = 1, CANCELLING = 1, SUCCEEDED = 1, FAILED = 1, CANCELLED = 1}
local ENDED = {SUCCEEDED = 1, FAILED = 1, CANCELLED = 1}
local CLASSES = {interactive = 16, standard = 4, batch = 1}  -- by their weights

local function is_damaged(job)
  for _, name in ipairs(WORDS) do
    if not job[name] then return true end
  end
  for _, name in ipairs(NUMBERS) do
    if not job[name] then return true end
  end
  return not STATES[job.state] or not CLASSES[job.class] or job.count == 0 or job.rows == 0 or job.row_bytes == 0
end

-- A job's fields, or nil if there is no such job. A field that is missing or is no number makes it damaged.
local function read_job(id)
  local name = key('job', id)
  local job, values, exists = {id = id, key = name}, fields_of_job(name, unpack(FIELDS)), false
  for place, field in ipairs(FIELDS) do
    local value = values[place]
    exists = exists or value
    job[field] = value
    if place > #WORDS then job[field] = value and string.match(value, '^%d+$') and #value < 16 and tonumber(value) end
  end
  if not exists then return nil end
  job.damaged = is_damaged(job)
  return job
end

-- A job, or nil if there is no such job. It is read once in a script; `add` keeps it up to date.
local function find_even_damaged(id)
  if found[id] == nil then found[id] = read_job(id) or false end
  return found[id] or nil
end

-- A job, or nil if there is no such job or its record is damaged: damage concerns that job alone.
local function find(id)
  local job = find_even_damaged(id)
  return job and not job.damaged and job or nil
end

-- A job, even a damaged one, or nil if there is none that this client may see. Redis does the same for a job of somebody
-- else as for none, so the time says nothing about it.
local function find_for(client, sees_all, id)
  if sees_all ~= '1' and fields_of_job(key('job', id), 'client')[1] ~= client then return nil end
  return find_even_damaged(id)
end

-- Writes that are alike for many samples are collected here. `conclude` makes a few calls of them at the end.
local sums, calls, entries = {}, {}, {}
local PASSED = 1000  -- values in one call, an even number; Lua cannot pass many thousands

local function count(name, field, number)
  sums[name] = sums[name] or {}
  sums[name][field] = (sums[name][field] or 0) + number
end

local function add(job, field, number)
  job[field] = job[field] + number
  count(job.key, field, number)
end

local recounted = nil  -- serial number of the last job that an unfinished recount has counted

local function is_recounted(job)
  recounted = recounted or tonumber(redis.call('HGET', meta, 'recounted') or '0')
  return job.serial <= recounted
end

-- Change the totals of the pool and of the job's client: 'jobs' that have not ended, their 'ready' and 'running' samples
-- and their 'pixels' to draw, the 'paused' ones among these jobs, and the 'bytes' of all jobs. An unfinished recount that
-- has counted the job changes, too.
local function charge(job, what, number)
  for _, name in ipairs(is_recounted(job) and {'totals', 'recount'} or {'totals'}) do
    count(key(name), what, number)
    count(key(name), what .. ' ' .. job.client, number)
  end
end

-- What a job counts in bytes: its record, the results that it has or will have, and the own kept pixels of its samples
-- until it ends, or if some failed as long as its results.
local function bytes_of(job)
  local kept_bytes = ENDED[job.state] and job.failed == 0 and 0 or job.kept_bytes
  return job.job_bytes + (job.count - job.cancelled) * job.sample_bytes + kept_bytes
end

-- A variadic command: its values, or pairs of values, are collected and sent together.
local function later(command, name, value, other)
  calls[command] = calls[command] or {}
  local values = calls[command][name] or {}
  calls[command][name] = values
  values[#values + 1] = value
  values[#values + 1] = other
end

-- What is too much for one call is put down in `chores`, and expire.lua does a part of it in each of its calls:
--   'age <id>', 'forget <id>'   give results a TTL, or forget them; the score is the number of chunks that are left
--   'drop <set>:<id>'           forget the samples of a set that was put aside as dropped:<set>:<id>
local room = 64  -- keys that this call may still forget or give a TTL

local function put_down(chore, left)
  if left > 0 then redis.call('ZADD', key('chores'), int(left), chore) else redis.call('ZREM', key('chores'), chore) end
end

-- Whether something is left to do for a job, so that some of its keys may still be there, or have no TTL yet.
local function has_chores(id)
  local f = redis.call('ZMSCORE', key('chores'), 'age ' .. id, 'forget ' .. id, 'drop running:' .. id,
    'drop returned:' .. id, 'drop suspects:' .. id)
  return f[1] or f[2] or f[3] or f[4] or f[5]
end

-- Do something with the chunks of a job's results, the last ones first, as far as there is room.
local function each_chunk(chore, id, chunks, command, ...)
  local left = math.max(0, chunks - room)
  put_down(chore .. ' ' .. id, left)
  for chunk = left, chunks - 1 do redis.call(command, key('result', id, int(chunk)), ...) end
  room = room - (chunks - left)
end

local function chunks_of(job)
  return math.ceil(job.count / CHUNK)
end

-- Results live as long as the record of their job. `left` chunks have no TTL yet.
local function age_results(id, left)
  local ttl = redis.call('PTTL', key('job', id))
  if ttl < 0 then return put_down('age ' .. id, 0) end
  each_chunk('age', id, left, 'PEXPIRE', int(ttl))
end

local function forget_results(id, left)
  each_chunk('forget', id, left, 'UNLINK')
end

local function forget_sample(id, index)
  redis.call('DEL', sample_key(id, index), pixels_key(id, index))
end

-- Forget samples of a set that was put aside, as far as there is room.
local function forget_dropped(name)
  local dropped, most = key('dropped', name), int(room)
  local is_set = redis.call('TYPE', dropped).ok == 'set'
  local indices = is_set and redis.call('SRANDMEMBER', dropped, most) or redis.call('ZRANGE', dropped, '0', int(room - 1))
  for _, index in ipairs(indices) do forget_sample(string.match(name, '[^:]+$'), index) end
  if #indices > 0 then redis.call(is_set and 'SREM' or 'ZREM', dropped, unpack(indices)) end
  room = room - #indices
  put_down('drop ' .. name, redis.call('EXISTS', dropped))
end

-- Forget the samples of a set, and the set.
local function drop(set, id)
  local name = set .. ':' .. id
  if redis.call('EXISTS', prefix .. name) == 0 then return end
  put_down('drop ' .. name, 1)
  redis.call('RENAME', prefix .. name, key('dropped', name))
  if room > 0 then forget_dropped(name) end
end

-- Forget the own kept pixels of samples; those of drawn ones are gone already. Returns how many keys there were.
local function forget_kept(job)
  return job.kept_bytes > 0 and redis.call('UNLINK', unpack(kept_keys(job.id, job.count))) or 0
end

-- Forget the own kept pixels of the samples of a job that ends. Those of failed ones live as long as the results: somebody
-- may have these samples drawn again.
local function end_kept(job, ttl)
  if job.failed == 0 then
    charge(job, 'bytes', -job.kept_bytes)
    forget_kept(job)
  elseif job.kept_bytes > 0 then
    for _, name in ipairs(kept_keys(job.id, job.count)) do redis.call('PEXPIRE', name, ttl) end
  end
end

-- Sharing between clients. A client's time is the number of pixels that it was given in a class, divided by its weight;
-- the client with the least time comes next. `turns:<digest>:<class>` lists the clients that have claimable samples of a
-- model by their time. `share:<class>:<client>` holds the time, and the digests for which the client is listed.
local function exact(number)
  return string.format('%.17g', number)
end

local function weight_of(client)
  return tonumber(redis.call('HGET', key('weights'), client) or '') or 1
end

-- The time of the client that was served last in a class.
local function clock_of(class)
  return tonumber(redis.call('HGET', meta, 'clock ' .. class) or '0')
end

-- List a job as claimable; what follows goes to ZADD before its id. A client that had nothing to claim begins at the time
-- of the last one served, so it has saved up nothing. But what it was given before still counts.
local function list_ready(job, ...)
  redis.call('ZADD', ready_key(job.digest, job.class, job.client), ...)
  local turns, share = turns_key(job.digest, job.class), share_key(job.class, job.client)
  if redis.call('ZSCORE', turns, job.client) then return end
  local time = tonumber(redis.call('HGET', share, 'time') or '0')
  if redis.call('PTTL', share) ~= -1 then time = math.max(time, clock_of(job.class)) end
  redis.call('HSET', share, 'time', exact(time), job.digest, '')
  redis.call('PERSIST', share)
  redis.call('ZADD', turns, exact(time), job.client)
end

-- Take a client from the list of a model if it has no claimable job of it any more.
local function unlist_client(digest, class, client)
  if redis.call('EXISTS', ready_key(digest, class, client)) == 1 then return end
  local share = share_key(class, client)
  redis.call('ZREM', turns_key(digest, class), client)
  redis.call('HDEL', share, digest)
  if redis.call('HLEN', share) <= 1 then redis.call('PEXPIRE', share, int(SHARE_TTL)) end
end

local function unlist_ready(job)
  redis.call('ZREM', ready_key(job.digest, job.class, job.client), job.id)
  unlist_client(job.digest, job.class, job.client)
end

-- Move a client's time on by pixels that it is given, or back by pixels that were not drawn after all.
local function advance(class, client, pixels)
  local share = share_key(class, client)
  local before = redis.call('HGET', share, 'time')
  if not before then return end  -- nothing was heard of it for long
  local time = exact(tonumber(before) + pixels / weight_of(client))
  for _, field in ipairs(redis.call('HKEYS', share)) do
    if field == 'time' then redis.call('HSET', share, 'time', time)
    else redis.call('ZADD', turns_key(field, class), 'XX', time, client) end
  end
end

-- Whether the request_id still belongs to this job: a newer job may have it now.
local function owns_request_key(job)
  if job.request_key == '' then return false end
  local known = redis.call('GET', prefix .. job.request_key)
  return known and string.sub(known, 1, #job.id + 1) == job.id .. ' '
end

-- Whether its client wants to be told of the job's end.
local function has_webhook(job)
  local request = redis.call('HGET', job.key, 'request') or ''
  if not string.find(request, '"webhook":"h', 1, true) then return false end  -- that may be a label, too
  local is_read, values = pcall(cjson.decode, request)
  return is_read and type(values) == 'table' and type(values.notes) == 'table' and values.notes.webhook ~= ''
end

local function end_job(job, state, reason)
  if job.state == 'PAUSED' then charge(job, 'paused', -1) end
  job.state, job.reason = state, reason
  local ttl = int(job.retention + TTL_MARGIN)
  redis.call('HSET', job.key, 'state', state, 'reason', reason, 'ended', int(now), 'expires', int(now + job.retention))
  redis.call('UNLINK', key('returned', job.id), key('suspects', job.id), key('running', job.id))
  unlist_ready(job)
  redis.call('ZREM', key('queued'), job.id)
  redis.call('ZREM', key('deadlines'), job.id)
  redis.call('ZADD', key('expiry'), int(now + job.retention), job.id .. ' ' .. job.client)
  if has_webhook(job) then redis.call('ZADD', key('webhooks'), int(now), job.id) end
  charge(job, 'jobs', -1)
  end_kept(job, ttl)
  redis.call('PEXPIRE', job.key, ttl)
  redis.call('PEXPIRE', key('ended', job.id), ttl)
  if owns_request_key(job) then redis.call('PEXPIRE', prefix .. job.request_key, ttl) end
  age_results(job.id, chunks_of(job))
end

-- End the job if it has no sample left to draw.
local function settle(job)
  if job.done + job.failed + job.cancelled < job.count then return end
  if job.state == 'CANCELLING' then end_job(job, job.reason == '' and 'CANCELLED' or 'FAILED', job.reason)
  elseif not GOES_ON[job.state] then return
  elseif job.failed > 0 then end_job(job, 'FAILED', 'SAMPLES_FAILED')
  else end_job(job, 'SUCCEEDED', '') end
end

local function write_collected(commands)
  for _, command in ipairs(commands) do
    for name, values in pairs(calls[command] or {}) do
      for first = 1, #values, PASSED do
        redis.call(command, name, unpack(values, first, math.min(first + PASSED - 1, #values)))
      end
    end
    calls[command] = nil
  end
end

local function write_sums()
  for name, fields in pairs(sums) do
    for field, number in pairs(fields) do
      if number ~= 0 then redis.call('HINCRBY', name, field, int(number)) end
    end
  end
  sums = {}
end

-- Write what was collected, and end the jobs that have no sample left. First comes what is added, then the counts, then
-- what is removed: if Redis refuses a command half way, a sample is in two places rather than in none.
local function conclude()
  write_collected({'SADD', 'ZADD', 'HSET'})
  write_sums()
  write_collected({'SREM', 'HDEL', 'ZREM'})
  for name, list in pairs(entries) do redis.call('APPEND', name, table.concat(list)) end
  for _, job in pairs(found) do
    if job and not job.damaged then settle(job) end
  end
  write_sums()
end

-- Forget the keys of a job that has ended.
local function forget_job(job)
  put_down('age ' .. job.id, 0)
  forget_results(job.id, chunks_of(job))
  forget_kept(job)  -- of failed samples, or left by an interrupted script
  if owns_request_key(job) then redis.call('DEL', prefix .. job.request_key) end
  redis.call('UNLINK', job.key, key('ended', job.id))
  charge(job, 'bytes', -bytes_of(job))
end

-- Forget the keys of a job whose record is damaged, as far as they can be found. The next recount corrects the totals.
local function forget_damaged(job)
  for _, set in ipairs({'running', 'returned', 'suspects'}) do drop(set, job.id) end
  put_down('age ' .. job.id, 0)
  forget_results(job.id, CHUNKS_OF_DAMAGED)
  redis.call('UNLINK', unpack(kept_keys(job.id, CHUNK * CHUNKS_OF_DAMAGED)))
  if job.digest and job.class and job.client then unlist_ready(job) end
  redis.call('ZREM', key('queued'), job.id)
  redis.call('ZREM', key('deadlines'), job.id)
  redis.call('UNLINK', job.key, key('ended', job.id))
end

-- Take a job, which need not exist any more, from the lists.
local function unlist(id, client)
  redis.call('ZREM', key('jobs'), id)
  redis.call('ZREM', key('webhooks'), id)
  if not client then return end
  redis.call('ZREM', key('jobs', client), id)
  redis.call('ZREM', key('expiry'), id .. ' ' .. client)
end

local function take_from(worker, job_id, index)
  later('SREM', key('running', job_id), index)
  later('ZREM', key('held', worker), job_id .. ':' .. index)
  later('ZREM', key('leaving'), job_id .. ':' .. index)
  local job = find(job_id)
  if job then charge(job, 'running', -1) else count(key('totals'), 'running', -1) end
end

local function rows_of(job, index)
  return redis.call('STRLEN', pixels_key(job.id, index)) / job.row_bytes
end

local function undrawn_pixels(job, index)
  return job.sample_pixels * math.max(0, 1 - rows_of(job, index) / job.rows)
end

local function forget_own_kept(job, index)
  if job.kept_bytes > 0 then later('HDEL', kept_key(job.id, index), index) end
end

local function cancel_sample(job, index)
  forget_sample(job.id, index)
  forget_own_kept(job, index)
  add(job, 'cancelled', 1)
  charge(job, 'pixels', -job.sample_pixels)
  charge(job, 'bytes', -job.sample_bytes)
end

local function note_dead(job, index, reason)
  redis.call('XADD', key('dead'), 'MAXLEN', '~', DEAD, '*', 'job', job.id, 'index', index, 'client', job.client,
    'rows', int(math.floor(rows_of(job, index))), 'error', reason)
end

-- Write a sample's result, once. The outcome is '+' succeeded or '-' failed. The value is
-- outcome token \n log-probability \n fingerprint \n (pixels or error).
local function end_sample(job, index, outcome, token, log_probability, payload)
  if outcome == '-' then advance(job.class, job.client, -undrawn_pixels(job, index)) end
  local fingerprint = redis.call('HGET', sample_key(job.id, index), 'fingerprint') or ''
  local value = table.concat({outcome .. token, log_probability, fingerprint, payload}, '\n')
  if redis.call('HSETNX', result_key(job.id, index), index, value) == 1 then
    add(job, outcome == '+' and 'done' or 'failed', 1)
    if outcome == '-' then note_dead(job, index, payload) end
    charge(job, 'pixels', -job.sample_pixels)
    local name, entry = key('ended', job.id), tonumber(index) * 2 + (outcome == '+' and 1 or 0)
    entries[name] = entries[name] or {}
    table.insert(entries[name], struct.pack('>I4', entry))
    if outcome == '+' then forget_own_kept(job, index) end
  end
  forget_sample(job.id, index)
end

-- How many workers in a row fell silent with the sample without progress. A row committed since the claim is progress.
local function crashes_of(job, index)
  local known = redis.call('HMGET', sample_key(job.id, index), 'claimed_rows', 'crashes')
  if rows_of(job, index) > tonumber(known[1] or '0') then return 0 end
  return tonumber(known[2] or '0')
end

-- Make a sample claimable again, with its rows; with crashes it is a suspect. Suspects with fewer crashes come first:
-- they may be innocent.
local function give_back(job, index, released, crashes)
  local rows = rows_of(job, index)
  redis.call('HSET', sample_key(job.id, index), 'released', released, 'crashes', int(crashes))
  if crashes > 0 then redis.call('ZADD', key('suspects', job.id), int(rows - crashes * 1e9), index)
  else redis.call('ZADD', key('returned', job.id), int(rows), index) end
  if job.state == 'PAUSED' then return end
  charge(job, 'ready', 1)
  list_ready(job, 'NX', '0', job.id)  -- before jobs that have no sample in progress
  interactive = interactive or job.class == 'interactive'
end

-- Give back, or cancel, a sample that its worker no longer holds. `released` is the token of its release, '' if none.
local function return_sample(job, index, released, crashes)
  advance(job.class, job.client, -undrawn_pixels(job, index))
  if job.state == 'CANCELLING' then cancel_sample(job, index) else give_back(job, index, released, crashes) end
end

-- Samples of the job that are claimable, or would be if it were not paused.
local function waiting_samples(job)
  local given_back = redis.call('ZCARD', key('returned', job.id)) + redis.call('ZCARD', key('suspects', job.id))
  return job.count - job.next + given_back
end

-- Stop a job that goes on. Waiting samples are cancelled now, running ones at their worker's next commit or
-- when its lease ends. Then the job ends FAILED if there is a reason, else CANCELLED. Ended samples stay.
local function stop(job, reason)
  local running = redis.call('SCARD', key('running', job.id))
  local waiting = job.count - job.done - job.failed - job.cancelled - running  -- and samples that an interrupted script lost
  for _, set in ipairs({'returned', 'suspects'}) do drop(set, job.id) end
  if job.state == 'PAUSED' then charge(job, 'paused', -1) else charge(job, 'ready', -waiting) end
  job.state, job.reason = 'CANCELLING', reason
  redis.call('HSET', job.key, 'state', job.state, 'reason', reason)
  add(job, 'next', job.count - job.next)
  add(job, 'cancelled', waiting)
  charge(job, 'pixels', -waiting * job.sample_pixels)
  charge(job, 'bytes', -waiting * job.sample_bytes)
  unlist_ready(job)
  redis.call('ZREM', key('deadlines'), job.id)
end

-- Whether samples of the job that were running when it was stopped are no longer wanted.
local function is_stopped(job)
  return job.state == 'CANCELLING' or job.state == 'CANCELLED' or job.reason == 'DEADLINE_EXCEEDED'
end
