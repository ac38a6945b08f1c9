-- commit.lua: append the rows a worker drew, end the samples it finished, and renew its lease.
-- KEYS  1 meta
-- ARGV  1 worker   2 lease, ms   3 the progress of each sample, packed   4… the samples, <job id>:<index>, none twice
-- Packed for each sample: job id, token, place, first row, pixels, ending ('' goes on, 'done <log-probability>',
-- 'fail <error>', 'release'). They are one argument because hundreds of small ones cost more than their contents.
-- The place says how far a sample is: 0 if not reported, else 2 · rows + 1, and one more if the next row has begun, alone
-- (recover.lua).
-- Returns a line for each of the first samples, in order: verdict, number of committed rows, and 'ends' if it was the
-- last sample of its job: all are done or failed now. The verdicts are ACCEPTED, PAUSED, DUPLICATE, BEHIND, FENCED,
-- CANCELLED and CORRUPT, as job.py explains them. Pixels that contradict committed rows fail the sample, since its bytes
-- must not change. Samples without a line would have taken too long; they need another call.

local PACKED = '>Bc0Bc0I4I4I4c0I2c0'
local worker, lease, packed = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local touched, written, results, drawn = {}, {}, {}, 0
local undrawn = {}  -- class → pixels of samples that end or go back before all their rows are drawn
local bytes = 0  -- of pictures that this call read or wrote

-- The tokens of those of these samples that the worker holds.
local function held_tokens()
  local tokens = {}
  for first = 4, #ARGV, PASSED do
    local members = {unpack(ARGV, first, math.min(first + PASSED - 1, #ARGV))}
    for place, token in ipairs(redis.call('ZMSCORE', key('held', worker), unpack(members))) do
      tokens[members[place]] = token and int(tonumber(token))
    end
  end
  return tokens
end

local function index_of(member, id)
  return string.sub(member, #id + 2)
end

-- The verdict on a write that does not have the sample's token. It may be a repeated write that has had its effect.
local function refuse(job, index, token, outcome)
  local result = redis.call('HGET', result_key(job.id, index), index)
  if result and string.sub(result, 2, #token + 2) == token .. '\n' then return 'DUPLICATE', job.rows, true end
  if is_stopped(job) then return 'CANCELLED', 0 end
  local released = outcome == 'release' and redis.call('HGET', sample_key(job.id, index), 'released')
  if released == token then return 'DUPLICATE', 0 end
  return 'FENCED', 0
end

local function note_drawn(job, bytes)
  drawn = drawn + bytes / job.row_bytes * job.sample_pixels / job.rows
end

-- Append rows that overlap the committed ones or leave a gap; returns a verdict and the number of committed bytes.
local function compare(job, name, start, pixels)
  local length = redis.call('STRLEN', name)
  if start > length then return 'BEHIND', length end
  local overlap = math.min(#pixels, length - start)
  local known = overlap > 0 and redis.call('GETRANGE', name, start, start + overlap - 1) or ''
  local ends_outside = start + #pixels > job.rows * job.row_bytes
  if known ~= string.sub(pixels, 1, overlap) or ends_outside then return 'CORRUPT', length end
  if overlap == #pixels then return #pixels > 0 and 'DUPLICATE' or 'ACCEPTED', length end
  note_drawn(job, #pixels - overlap)
  return 'ACCEPTED', redis.call('APPEND', name, string.sub(pixels, overlap + 1))
end

local function shorten(name, length)
  if length == 0 then
    redis.call('DEL', name)
  else
    redis.call('SET', name, redis.call('GETRANGE', name, 0, length - 1))
  end
end

-- Append rows; returns a verdict and the number of committed rows. Most rows follow the committed ones, so they are
-- appended first and checked after; rows that do not fit are removed again.
local function append(job, member, first_row, pixels)
  local name, start = prefix .. 'pixels:' .. member, first_row * job.row_bytes
  local stop = start + #pixels
  local length = #pixels > 0 and redis.call('APPEND', name, pixels)
  if length == stop and stop <= job.rows * job.row_bytes then
    note_drawn(job, #pixels)
    return 'ACCEPTED', stop / job.row_bytes
  end
  if length then shorten(name, length - #pixels) end
  local verdict, committed = compare(job, name, start, pixels)
  return verdict, math.floor(committed / job.row_bytes)  -- an incomplete row is sent again as a whole
end

local function finish(job, index, token, outcome, detail)
  if outcome ~= 'done' then undrawn[job.class] = (undrawn[job.class] or 0) + undrawn_pixels(job, index) end
  if outcome == 'done' then
    bytes = bytes + job.rows * job.row_bytes
    end_sample(job, index, '+', token, detail, redis.call('GET', pixels_key(job.id, index)))
  elseif outcome == 'fail' then
    end_sample(job, index, '-', token, '0', detail)
  else
    return_sample(job, index, token, crashes_of(job, index))
  end
  take_from(worker, job.id, index)
end

-- Returns a verdict, the number of committed rows, and whether the sample has a result now.
local function apply(member, held, id, token, place, first_row, pixels, ending)
  local job, outcome, detail = find(id), '', ''
  if not job then
    if held == token then take_from(worker, id, index_of(member, id)) end  -- it is gone or damaged
    return 'FENCED', 0
  end
  if ending ~= '' then outcome, detail = string.match(ending, '^(%a+) ?(.*)$') end
  if held ~= token then return refuse(job, index_of(member, id), token, outcome) end
  touched[id] = true
  if job.state == 'CANCELLING' and outcome ~= 'done' then
    finish(job, index_of(member, id), token, 'release')
    return 'CANCELLED', 0
  end
  if place > 0 then redis.call('HSET', prefix .. 'sample:' .. member, 'reported', int(place)) end
  local verdict, rows = append(job, member, first_row, pixels)
  if verdict == 'CORRUPT' then
    finish(job, index_of(member, id), token, 'fail', 'Rows were drawn twice with different pixels.')
  elseif outcome == 'done' and rows < job.rows then
    return 'BEHIND', rows
  elseif outcome ~= '' then
    finish(job, index_of(member, id), token, outcome, detail)
    verdict = 'ACCEPTED'
  elseif job.state == 'PAUSED' and verdict ~= 'BEHIND' then
    verdict = 'PAUSED'
  end
  return verdict, rows, verdict == 'CORRUPT' or outcome == 'done' or outcome == 'fail'
end

-- A line of the reply. Most are the same, and turning numbers into text is slow.
local function line_of(verdict, rows)
  written[verdict] = written[verdict] or {}
  written[verdict][rows] = written[verdict][rows] or verdict .. ' ' .. int(rows)
  return written[verdict][rows]
end

-- The index of the sample that ended last, if all samples of the job are done or failed.
local function last_index(job)
  if job.done + job.failed < job.count then return nil end
  local entry = redis.call('GETRANGE', key('ended', job.id), -4, -1)
  return #entry == 4 and int(math.floor(struct.unpack('>I4', entry) / 2))
end

-- Mark the lines of samples with which their jobs ended. Read from Redis, so that a call sent twice says it twice.
local function mark_ends(lines)
  local last = {}
  for place, result in pairs(results) do
    local job = find(result.id)
    if last[job.id] == nil then last[job.id] = last_index(job) or false end
    if last[job.id] == result.index then lines[place] = lines[place] .. ' ends' end
  end
end

-- Move the classes' times in this worker back by what was not drawn (claim.lua).
local function move_back()
  local me = key('worker', worker)
  for class, pixels in pairs(undrawn) do
    local f = redis.call('HMGET', me, 'time ' .. class, 'clock')
    local time = f[1] and tonumber(f[1]) - pixels / CLASSES[class]
    if time then
      redis.call('HSET', me, 'time ' .. class, exact(time), 'clock', exact(math.min(time, tonumber(f[2]))))
    end
  end
end

-- Measure pixels a second over 5 s or more; submit computes its retry delay from that.
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
local tokens, lines, returned, at = held_tokens(), {}, false, 1
for place = 1, #ARGV - 3 do
  if bytes > MOST_BYTES then break end
  local id, token, reported, first_row, pixels, ending, next = struct.unpack(PACKED, packed, at)
  local member = ARGV[place + 3]
  local verdict, rows, has_result = apply(member, tokens[member], id, token, reported, first_row, pixels, ending)
  lines[place] = line_of(verdict, rows)
  if has_result then results[place] = {id = id, index = index_of(member, id)} end
  bytes = bytes + #pixels
  returned = returned or ending == 'release'
  if reported > 0 and #pixels + #ending > 0 then returned = true end  -- its worker may take the next suspect
  at = next
end
conclude()
mark_ends(lines)
if drawn > 0 then measure_rate() end
move_back()
if returned then ring_bell() end
for id in pairs(touched) do announce(id) end
return table.concat(lines, '\n')
