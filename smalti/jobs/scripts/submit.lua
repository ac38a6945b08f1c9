-- submit.lua: queue a job, unless its request_id already queued one, or a limit of the pool or of the client is reached.
-- O(1): samples are made when they are claimed.
-- KEYS  1 meta   2 job:<id>
-- ARGV  1 job id   2 name of the request key without prefix, or ''   3 hash of the request   4 client
--       5 to 7 the pool's most jobs, pixels and bytes   8 to 10 the client's, '' for no limit   11 request
--       12 kept pixels   13 model digest   14 count   15 rows   16 row bytes   17 pixels of a sample
--       18 bytes of the job   19 bytes of a result   20 retention, ms   21 class   22 traceparent, or ''
--       23 request id of the RPC, or ''   24 deadline in ms from now, 0 for none
--       25 bytes of the kept pixels of its samples, 0 if they have none of their own   26 1 to ask only if there is room
-- Returns {'QUEUED', job id}, which may be an older job with the same request_id and request; {'CONFLICT', id of the job
-- that used the request_id for another request}; or {'FULL', 'pool' or 'client', 'jobs', 'pixels' or 'bytes', how much of
-- that is used, retry in ms}; {'ROOM', job id} if only that was asked; {'LOST', job id} if kept pixels of its samples,
-- which were written before, have expired.

local id, request_key, hash, client = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local count_of_samples, sample_pixels = tonumber(ARGV[14]), tonumber(ARGV[17])
local kept_bytes, only_ask = tonumber(ARGV[25]), ARGV[26] == '1'
local wanted = {
  jobs = 1, pixels = count_of_samples * sample_pixels,
  bytes = tonumber(ARGV[18]) + count_of_samples * tonumber(ARGV[19]) + kept_bytes,
}
local OLDEST = 32  -- jobs in which the next expiry is looked for

-- How long the workers need to draw so many pixels.
local function drawing_ms(pixels)
  local rate, since = unpack(redis.call('HMGET', meta, 'rate', 'rate_since'))
  if not rate or tonumber(rate) <= 0 or now - tonumber(since) > 60000 then return 5000 end
  return pixels / tonumber(rate) * 1000
end

-- How long until results of one of the oldest jobs in a list expire.
local function expiry_ms(list)
  local soonest = now + 600000
  for _, each in ipairs(redis.call('ZRANGE', list, 0, OLDEST - 1)) do
    local expires = fields_of_job(key('job', each), 'expires')[1]
    soonest = math.min(soonest, expires and tonumber(expires) or soonest)
  end
  return soonest - now
end

local function retry_ms(what, used, limit, list)
  if what == 'bytes' then return expiry_ms(list) end
  if what == 'pixels' then return drawing_ms(used.pixels + wanted.pixels - limit) end
  return drawing_ms(used.pixels / math.max(used.jobs, 1))
end

local function used_by(suffix)
  local f = redis.call('HMGET', key('totals'), 'jobs' .. suffix, 'pixels' .. suffix, 'bytes' .. suffix)
  return {jobs = tonumber(f[1] or '0'), pixels = tonumber(f[2] or '0'), bytes = tonumber(f[3] or '0')}
end

-- The refusal if a limit would be exceeded; `first` is the place of the limits in ARGV.
local function refusal(whose, suffix, first, list)
  local used = used_by(suffix)
  for offset, what in ipairs({'jobs', 'pixels', 'bytes'}) do
    local limit = tonumber(ARGV[first + offset - 1])
    if limit and used[what] + wanted[what] > limit then
      local retry = math.max(1000, math.min(600000, retry_ms(what, used, limit, list)))
      return {'FULL', whose, what, int(used[what]), int(retry)}
    end
  end
end

-- Keep the kept pixels of samples: until now they would have expired. Whether all are there.
local function keep_kept()
  local chunks, found = kept_keys(id, count_of_samples), 0
  for _, chunk in ipairs(chunks) do found = found + redis.call('HLEN', chunk) end
  if found ~= count_of_samples then return false end
  for _, chunk in ipairs(chunks) do redis.call('PERSIST', chunk) end
  return true
end

if request_key ~= '' then
  local known = redis.call('GET', prefix .. request_key)
  if known then
    local known_id, known_hash = string.match(known, '^(%S+) (%S+)$')
    if redis.call('EXISTS', key('job', known_id)) == 1 then
      return {known_hash == hash and 'QUEUED' or 'CONFLICT', known_id}
    end
  end
end
if redis.call('EXISTS', KEYS[2]) == 1 then return {'QUEUED', id} end

local refused = refusal('client', ' ' .. client, 8, key('jobs', client)) or refusal('pool', '', 5, key('jobs'))
if refused then return refused end
if only_ask then return {'ROOM', id} end
if kept_bytes > 0 and not keep_kept() then return {'LOST', id} end

local deadline = tonumber(ARGV[24])
if deadline > 0 then deadline = now + deadline end
local serial = redis.call('HINCRBY', meta, 'submitted', '1')
local turn = int(redis.call('HINCRBY', meta, 'turn', '1'))
redis.call('ZADD', key('jobs'), int(serial), id)  -- first: a recount finds the job if Redis refuses a command after this
redis.call('HSET', KEYS[2], 'client', client, 'request', ARGV[11], 'kept', ARGV[12], 'digest', ARGV[13],
  'count', ARGV[14], 'rows', ARGV[15], 'row_bytes', ARGV[16], 'sample_pixels', ARGV[17], 'job_bytes', ARGV[18],
  'sample_bytes', ARGV[19], 'retention', ARGV[20], 'request_key', request_key, 'serial', int(serial),
  'created', int(now), 'state', 'QUEUED', 'next', '0', 'done', '0', 'failed', '0', 'cancelled', '0', 'reason', '',
  'fingerprint', '', 'class', ARGV[21], 'traceparent', ARGV[22], 'rpc_id', ARGV[23],
  'deadline', int(deadline), 'kept_bytes', int(kept_bytes))
if request_key ~= '' then redis.call('SET', prefix .. request_key, id .. ' ' .. hash) end
redis.call('ZADD', key('jobs', client), int(serial), id)
redis.call('ZADD', key('queued'), int(now), id)
if deadline > 0 then redis.call('ZADD', key('deadlines'), int(deadline), id) end
local job = {id = id, client = client, serial = serial, digest = ARGV[13], class = ARGV[21]}
list_ready(job, turn, id)
for what, number in pairs(wanted) do charge(job, what, number) end
charge(job, 'ready', count_of_samples)
write_sums()
interactive = ARGV[21] == 'interactive'
ring_bell()
announce(id)
return {'QUEUED', id}
