-- commit.lua: append the rows a worker drew, end the samples it finished, and renew its lease.
-- KEYS  1 meta
-- ARGV  1 worker   2 lease, ms   3… seven for each sample: job id, index, token, first row, pixels, outcome
--       ('' goes on, 'done', 'fail', 'release'), detail (of done the log-probability, of fail the error)
-- Returns verdict and number of committed rows of each, in order: ACCEPTED, DUPLICATE, BEHIND, FENCED, CANCELLED,
-- CORRUPT as job.py explains them. A contradiction of committed rows fails the sample, since its bytes must not change.

local worker, lease = ARGV[1], tonumber(ARGV[2])
local jobs, touched, drawn = {}, {}, 0

local function job_of(id)
  if jobs[id] == nil then jobs[id] = find(id) or false end
  return jobs[id]
end

-- A write without the sample's token: one that was sent twice has had its effect already.
local function refuse(job, index, token, outcome)
  local result = redis.call('HGET', result_key(job.id, index), index)
  if result and string.sub(result, 2, #token + 2) == token .. '\n' then return 'DUPLICATE', job.rows end
  if job.state == 'CANCELLING' or job.state == 'CANCELLED' then return 'CANCELLED', 0 end
  local released = outcome == 'release' and redis.call('HGET', key('sample', job.id, index), 'released')
  if released == token then return 'DUPLICATE', 0 end
  return 'FENCED', 0
end

-- Append what is new of these rows; returns a verdict and the number of rows there are now.
local function append(job, index, crashes, first_row, pixels)
  local name = key('pixels', job.id, index)
  local length, start = redis.call('STRLEN', name), first_row * job.row_bytes
  if start > length then return 'BEHIND', length / job.row_bytes end
  local overlap = math.min(#pixels, length - start)
  local known = overlap > 0 and redis.call('GETRANGE', name, start, start + overlap - 1) or ''
  local ends_outside = start + #pixels > job.rows * job.row_bytes
  if known ~= string.sub(pixels, 1, overlap) or ends_outside then return 'CORRUPT', length / job.row_bytes end
  if overlap == #pixels then return #pixels > 0 and 'DUPLICATE' or 'ACCEPTED', length / job.row_bytes end
  length = redis.call('APPEND', name, string.sub(pixels, overlap + 1))
  drawn = drawn + (#pixels - overlap) / job.row_bytes * job.sample_pixels / job.rows
  if crashes and crashes ~= '0' then redis.call('HSET', key('sample', job.id, index), 'crashes', '0') end
  return 'ACCEPTED', length / job.row_bytes
end

local function finish(job, index, token, outcome, detail)
  if outcome == 'done' then
    end_sample(job, index, '+', token, detail, redis.call('GET', key('pixels', job.id, index)))
  elseif outcome == 'fail' then
    end_sample(job, index, '-', token, '0', detail)
  else
    return_sample(job, index, token)
  end
  take_from(worker, job.id, index)
  settle(job)
end

local function apply(id, index, token, first_row, pixels, outcome, detail)
  local job = job_of(id)
  if not job then return 'FENCED', 0 end
  local held, crashes = unpack(redis.call('HMGET', key('sample', id, index), 'token', 'crashes'))
  if held ~= token then
    return refuse(job, index, token, outcome)
  end
  touched[id] = true
  if job.state == 'CANCELLING' and outcome ~= 'done' then
    finish(job, index, token, 'release')
    return 'CANCELLED', 0
  end
  local verdict, rows = append(job, index, crashes, first_row, pixels)
  if verdict == 'CORRUPT' then
    finish(job, index, token, 'fail', 'Rows were drawn twice with different pixels.')
  elseif outcome == 'done' and rows < job.rows then
    verdict = 'BEHIND'
  elseif outcome ~= '' then
    finish(job, index, token, outcome, detail)
    verdict = 'ACCEPTED'
  end
  return verdict, rows
end

-- Pixels a second over the last 5 s or more, from which submit computes a retry delay.
local function measure_rate()
  local f = redis.call('HMGET', meta, 'rate_since', 'rate_pixels')
  local since = tonumber(f[1] or '0')
  local elapsed, pixels = now - since, tonumber(f[2] or '0') + drawn
  if elapsed > 60000 or elapsed < 0 then
    redis.call('HSET', meta, 'rate_since', int(now), 'rate_pixels', int(drawn))
  elseif elapsed >= 5000 then
    redis.call('HSET', meta, 'rate', int(pixels * 1000 / elapsed), 'rate_since', int(now), 'rate_pixels', '0')
  else
    redis.call('HSET', meta, 'rate_pixels', int(pixels))
  end
end

allow_beyond_memory_limit()
redis.call('ZADD', key('workers'), 'XX', int(now + lease), worker)
keep_worker(worker, lease)
local replies, returned = {}, false
for position = 3, #ARGV, 7 do
  local outcome = ARGV[position + 5]
  local verdict, rows = apply(ARGV[position], ARGV[position + 1], ARGV[position + 2], tonumber(ARGV[position + 3]),
    ARGV[position + 4], outcome, ARGV[position + 6])
  replies[#replies + 1] = verdict
  replies[#replies + 1] = rows
  returned = returned or outcome == 'release'
end
if drawn > 0 then measure_rate() end
if returned then ring_bell() end
for id in pairs(touched) do announce(id) end
return replies
