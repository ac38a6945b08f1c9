-- audit_jobs.lua: check what jobs count, their lists and TTLs, and repair what no other script would have left.
-- KEYS  1 meta
-- ARGV  1… job ids
-- Returns for each of the first jobs, as many as this call has time for, {'', 'samples' or 'results', a word for each
-- repair…}: 'samples' if the places of its samples must be checked one by one, 'results' if its results must be counted;
-- auditing.py explains the words of repairs. A job that is gone or damaged is left to recount.lua.

local MOST_CHUNKS = 250  -- of all jobs in one call, or those of one job; each costs some microseconds

local function results_of(job)
  local number = 0
  for chunk = 0, chunks_of(job) - 1 do number = number + redis.call('HLEN', key('result', job.id, int(chunk))) end
  return number
end

-- Call a function with each key that lives as long as the job's record.
local function each_lasting_key(job, act)
  act(job.key)
  act(key('ended', job.id))
  if owns_request_key(job) then act(prefix .. job.request_key) end
  for chunk = 0, chunks_of(job) - 1 do act(key('result', job.id, int(chunk))) end
  for _, name in ipairs(job.kept_bytes > 0 and kept_keys(job.id, job.count) or {}) do act(name) end
end

local function set_number(job, field, value, words)
  if job[field] == value or value < 0 then return end
  add(job, field, value - job[field])
  words[#words + 1] = 'counts'
end

local function set_state(job, state, words)
  job.state = state
  redis.call('HSET', job.key, 'state', state)
  words[#words + 1] = 'state'
end

-- Keep a job's member in a list, or out of it.
local function list(name, member, score, is_wanted, words)
  local is_listed = redis.call('ZSCORE', name, member)
  if is_wanted and not is_listed then redis.call('ZADD', name, int(score), member)
  elseif is_listed and not is_wanted then redis.call('ZREM', name, member)
  else return end
  words[#words + 1] = 'lists'
end

-- Keep a job among those that can be claimed, or not.
local function list_claimable(job, is_wanted, words)
  local ready = redis.call('ZSCORE', ready_key(job.digest, job.class, job.client), job.id)
  local has_turn = redis.call('ZSCORE', turns_key(job.digest, job.class), job.client)
  if is_wanted and not (ready and has_turn) then list_ready(job, 'NX', '0', job.id)
  elseif ready and not is_wanted then unlist_ready(job)
  else return end
  words[#words + 1] = 'lists'
end

local function audit_living(job, words)
  set_number(job, 'next', math.min(job.next, job.count), words)
  if job.state ~= 'CANCELLING' then set_number(job, 'cancelled', 0, words) end
  local drawable = waiting_samples(job)
  local rest = job.count - drawable - redis.call('SCARD', key('running', job.id)) - job.done - job.failed
  if job.state == 'CANCELLING' then set_number(job, 'cancelled', rest, words)
  elseif rest ~= 0 then words[1] = 'samples' end
  if job.state == 'QUEUED' and job.next > 0 then
    set_state(job, 'RUNNING', words)
    redis.call('HSET', job.key, 'started', int(now))
  end
  list_claimable(job, job.state ~= 'CANCELLING' and job.state ~= 'PAUSED' and drawable > 0, words)
  list(key('queued'), job.id, job.created, job.state == 'QUEUED', words)
  list(key('deadlines'), job.id, job.deadline, job.state ~= 'CANCELLING' and job.deadline > 0, words)
  each_lasting_key(job, function(name)
    if redis.call('PERSIST', name) == 1 then words[#words + 1] = 'ttl' end
  end)
  if job.done + job.failed + job.cancelled == job.count then words[#words + 1] = 'state' end  -- `conclude` ends it
end

-- A job cannot have ended while samples are left: it goes on.
local function reopen(job, words)
  set_state(job, 'RUNNING', words)
  redis.call('HDEL', job.key, 'ended', 'expires')
  job.reason = ''
  redis.call('HSET', job.key, 'reason', '')
  redis.call('ZREM', key('expiry'), job.id .. ' ' .. job.client)
  put_down('age ' .. job.id, 0)
  each_lasting_key(job, function(name) redis.call('PERSIST', name) end)
  audit_living(job, words)
end

local function expiry_of(job, words)
  local expires = tonumber(redis.call('HGET', job.key, 'expires') or '')
  if expires then return expires end
  words[#words + 1] = 'state'
  redis.call('HSET', job.key, 'ended', int(now), 'expires', int(now + job.retention))
  return now + job.retention
end

local function audit_ended(job, words)
  local left = job.count - job.done - job.failed - job.cancelled
  if is_stopped(job) then set_number(job, 'cancelled', job.cancelled + left, words)
  elseif left ~= 0 then return reopen(job, words)
  elseif job.state == 'SUCCEEDED' and job.failed > 0 then set_state(job, 'FAILED', words) end
  local expires = expiry_of(job, words)
  list(key('expiry'), job.id .. ' ' .. job.client, expires, true, words)
  list_claimable(job, false, words)
  list(key('queued'), job.id, 0, false, words)
  list(key('deadlines'), job.id, 0, false, words)
  if redis.call('DEL', key('returned', job.id), key('suspects', job.id), key('running', job.id)) > 0 then
    words[#words + 1] = 'places'
  end
  if job.failed == 0 and forget_kept(job) > 0 then words[#words + 1] = 'leftovers' end
  if has_chores(job.id) then return end  -- one of them may be to give its results a TTL
  each_lasting_key(job, function(name)
    if redis.call('PTTL', name) ~= -1 then return end
    redis.call('PEXPIRE', name, int(math.max(0, expires - now) + TTL_MARGIN))
    words[#words + 1] = 'ttl'
  end)
end

local function audit(job)
  local words, results = {''}, results_of(job)
  if results ~= job.done + job.failed or redis.call('STRLEN', key('ended', job.id)) ~= 4 * results then
    found[job.id] = false  -- `conclude` must not end it by wrong counts
    return {'results'}
  end
  list(key('jobs'), job.id, job.serial, true, words)
  if ENDED[job.state] then audit_ended(job, words) else audit_living(job, words) end
  return words
end

allow_beyond_memory_limit()
local answers, chunks = {}, 0
for _, id in ipairs(ARGV) do
  local job = find(id)
  chunks = chunks + (job and chunks_of(job) or 0)
  if chunks > MOST_CHUNKS and #answers > 0 then break end
  answers[#answers + 1] = job and audit(job) or {''}
end
conclude()
return answers
