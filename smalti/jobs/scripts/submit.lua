-- submit.lua: queue a job, unless its request_id already queued one or the queue is full. O(1): samples are made when
-- they are claimed.
-- KEYS  1 meta   2 job:<id>
-- ARGV  1 job id   2 name of the request key without prefix, or ''   3 hash of the request   4 most jobs
--       5 most pixels   6 request   7 kept pixels   8 model digest   9 count   10 rows   11 row bytes
--       12 pixels of a sample   13 retention, ms   14 class
-- Returns {'QUEUED', job id}, which may be an older job with the same request_id and request; {'CONFLICT', id of the job
-- that used the request_id for another request}; or {'FULL', retry in ms}.

local id, request_key, hash = ARGV[1], ARGV[2], ARGV[3]
local sample_pixels, count = tonumber(ARGV[12]), tonumber(ARGV[9])
local pixels = count * sample_pixels

local function retry_ms(excess)
  local rate, since = unpack(redis.call('HMGET', meta, 'rate', 'rate_since'))
  if not rate or tonumber(rate) <= 0 or now - tonumber(since) > 60000 then return '5000' end
  return int(math.max(1000, math.min(600000, excess / tonumber(rate) * 1000)))
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

local totals = redis.call('HMGET', meta, 'live', 'pixels')
local live, waiting = tonumber(totals[1] or '0'), tonumber(totals[2] or '0')
if live + 1 > tonumber(ARGV[4]) then return {'FULL', retry_ms(waiting / math.max(live, 1))} end
if waiting + pixels > tonumber(ARGV[5]) then return {'FULL', retry_ms(waiting + pixels - tonumber(ARGV[5]))} end

local serial = int(redis.call('HINCRBY', meta, 'submitted', '1'))
local turn = int(redis.call('HINCRBY', meta, 'turn', '1'))
redis.call('HSET', KEYS[2], 'request', ARGV[6], 'kept', ARGV[7], 'digest', ARGV[8], 'count', ARGV[9], 'rows', ARGV[10],
  'row_bytes', ARGV[11], 'sample_pixels', ARGV[12], 'retention', ARGV[13], 'request_key', request_key,
  'serial', serial, 'created', int(now), 'state', 'QUEUED', 'next', '0', 'done', '0', 'failed', '0',
  'cancelled', '0', 'reason', '', 'fingerprint', '', 'class', ARGV[14])
if request_key ~= '' then redis.call('SET', prefix .. request_key, id .. ' ' .. hash) end
redis.call('ZADD', key('jobs'), serial, id)
redis.call('ZADD', key('queued'), int(now), id)
redis.call('ZADD', ready_key(ARGV[8], ARGV[14]), turn, id)
redis.call('HINCRBY', meta, 'live', '1')
redis.call('HINCRBY', meta, 'ready', int(count))
redis.call('HINCRBY', meta, 'pixels', int(pixels))
interactive = ARGV[14] == 'interactive'
ring_bell()
announce(id)
return {'QUEUED', id}
